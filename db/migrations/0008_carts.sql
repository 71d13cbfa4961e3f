-- shopping: what somebody may order

create schema shopping;

-- A cart's id is made of its owner: a customer's id, or the hash of a visitor's token.
create table shopping.carts (
  id uuid primary key,
  -- null: a visitor's
  customer_id uuid,
  -- that of its items; null while it is empty
  currency text,
  -- the order that locks it
  order_id uuid,
  locked_at timestamptz(3),
  -- how many requests to place that order have not failed
  checkouts integer not null default 0,
  expires_at timestamptz(3) not null,
  -- null: reminded, or nothing in it
  remind_at timestamptz(3),
  constraint cart_lock_is_whole check ((order_id is null) = (locked_at is null) and (order_id is null) = (checkouts = 0))
);
create index carts_expiring on shopping.carts (expires_at) where order_id is null;
create index carts_to_remind on shopping.carts (remind_at)
  where remind_at is not null and customer_id is not null and order_id is null;

create table shopping.cart_items (
  cart_id uuid not null references shopping.carts (id) on delete cascade,
  sku text not null collate "C",
  position bigint not null generated always as identity,
  quantity integer not null check (quantity between 1 and 10000),
  -- what it cost when it was added
  price bigint not null check (price >= 0),
  -- what there was of it when an order was rejected for want of it
  available integer,
  primary key (cart_id, sku)
);

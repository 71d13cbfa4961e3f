create schema identity;
create schema catalogue;
create schema inventory;
create schema ordering;
create schema messaging;

-- identity: who may call, and what they asked for before

create table identity.users (
  id uuid primary key,
  email text not null,
  name text not null,
  role text not null check (role in ('customer', 'staff', 'admin')),
  password_hash text,
  language text not null default 'en',
  created_at timestamptz(3) not null default now()
);
create unique index users_email_key on identity.users (lower(email));

create table identity.refresh_tokens (
  token_hash text primary key,
  family uuid not null,
  user_id uuid not null references identity.users (id) on delete cascade,
  expires_at timestamptz(3) not null,
  used_at timestamptz(3)
);
create index refresh_tokens_family on identity.refresh_tokens (family);
create index refresh_tokens_user on identity.refresh_tokens (user_id);

-- what signs access tokens where the environment does not say; one row at the most
create table identity.signing_secret (
  only_one boolean primary key default true check (only_one),
  secret text not null
);

create table identity.idempotency_keys (
  caller text not null,
  route text not null,
  key text not null,
  request_hash text not null,
  created_at timestamptz(3) not null default now(),
  primary key (caller, route, key)
);

-- catalogue: what is sold

create table catalogue.products (
  sku text primary key collate "C",
  name text not null,
  description text not null default '',
  category text not null default '',
  price bigint not null check (price >= 0),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  image_url text,
  active boolean not null default true,
  version integer not null default 1,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now()
);
create index products_category on catalogue.products (category, sku);
create index products_price on catalogue.products (price, sku);

-- inventory: what there is. available = on_hand - reserved >= 0, always.
-- No index on stock may name a changing column: without one each reservation is a heap-only update.

create table inventory.stock (
  sku text primary key collate "C",
  on_hand integer not null check (on_hand >= 0),
  reserved integer not null default 0 check (reserved >= 0),
  low_stock_threshold integer not null default 0 check (low_stock_threshold >= 0),
  version integer not null default 1,
  updated_at timestamptz(3) not null default now(),
  constraint stock_not_oversold check (reserved <= on_hand)
) with (fillfactor = 60);

-- the append-only ledger from which on_hand and reserved can be rebuilt
create table inventory.movements (
  id bigint generated always as identity primary key,
  sku text not null collate "C",
  type text not null check (type in ('adjustment', 'reservation', 'release', 'shipment', 'return')),
  quantity integer not null,
  order_id uuid,
  reason text,
  on_hand_after integer not null,
  reserved_after integer not null,
  at timestamptz(3) not null default now()
);
create index movements_sku on inventory.movements (sku, id desc);

-- ordering: what was promised to whom

create table ordering.orders (
  id uuid primary key,
  number text collate "C" not null unique,
  customer_id uuid not null,
  placed_by text not null,
  request_hash text not null,
  status text not null check (status in
    ('pending', 'awaiting_payment', 'confirmed', 'partially_shipped', 'shipped', 'delivered', 'rejected', 'cancelled')),
  payment_status text not null default 'none' check (payment_status in
    ('none', 'authorized', 'partially_captured', 'captured', 'partially_refunded', 'refunded', 'voided', 'failed')),
  payment_method text not null,
  payment_token text not null,
  currency text not null,
  total bigint not null check (total >= 0),
  shipping_address jsonb not null,
  note text,
  rejection jsonb,
  cancellation jsonb,
  version integer not null default 1,
  last_event_seq integer not null,
  created_at timestamptz(3) not null,
  updated_at timestamptz(3) not null default now()
) with (fillfactor = 80);
create index orders_newest on ordering.orders (created_at desc, id desc);
create index orders_of_customer on ordering.orders (customer_id, created_at desc, id desc);
create index orders_in_status on ordering.orders (status, created_at desc, id desc);

create table ordering.order_lines (
  order_id uuid not null references ordering.orders (id),
  position smallint not null,
  id uuid not null,
  sku text not null collate "C",
  name text not null,
  quantity integer not null check (quantity > 0),
  unit_price bigint not null check (unit_price >= 0),
  cancelled_quantity integer not null default 0 check (cancelled_quantity >= 0),
  shipped_quantity integer not null default 0 check (shipped_quantity >= 0),
  returned_quantity integer not null default 0 check (returned_quantity >= 0),
  primary key (order_id, position),
  constraint line_adds_up check (cancelled_quantity + shipped_quantity <= quantity and returned_quantity <= shipped_quantity)
);
create index order_lines_sku on ordering.order_lines (sku, order_id);

create table ordering.order_events (
  order_id uuid not null references ordering.orders (id),
  seq integer not null,
  type text not null,
  at timestamptz(3) not null default now(),
  actor text not null,
  data jsonb not null default '{}',
  primary key (order_id, seq)
);

-- messaging: what was told to whom; each (order, event, channel) once

create table messaging.notifications (
  id uuid primary key,
  channel text not null check (channel in ('email', 'sms', 'push')),
  recipient text not null,
  template text not null,
  variables jsonb not null default '{}',
  language text not null default 'en',
  subject text,
  body text,
  status text not null default 'queued' check (status in ('queued', 'sent', 'dead_letter')),
  claimed_until timestamptz(3),
  attempts jsonb not null default '[]',
  customer_id uuid,
  order_id uuid,
  event_type text,
  created_at timestamptz(3) not null default now(),
  unique (order_id, event_type, channel)
);
create index notifications_newest on messaging.notifications (created_at desc, id desc);

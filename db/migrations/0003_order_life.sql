-- The life of an order after its placement: payments, shipments, returns.

-- what a line holds of the stock: the sum over all lines is inventory.stock.reserved
alter table ordering.order_lines
  add column reserved_quantity integer not null default 0 check (reserved_quantity >= 0);
update ordering.order_lines
set reserved_quantity = quantity - cancelled_quantity - shipped_quantity
from ordering.orders
where orders.id = order_id and status not in ('rejected', 'cancelled');
alter table ordering.order_lines
  add constraint line_holds_what_is_open check (reserved_quantity <= quantity - cancelled_quantity - shipped_quantity);
create index order_lines_reserved on ordering.order_lines (sku) include (reserved_quantity) where reserved_quantity > 0;
create index order_lines_holding on ordering.order_lines (order_id) where reserved_quantity > 0;

-- step: counts what was done to the order; a step is taken only on the state it was decided on
alter table ordering.orders
  add column step integer not null default 0,
  add column payment_provider text not null default 'mock',
  add column pay_by timestamptz(3),
  add column ship_by timestamptz(3);
create index orders_ended on ordering.orders (updated_at) where status in ('cancelled', 'delivered');
create index orders_live on ordering.orders (id) where status not in ('rejected', 'cancelled', 'delivered');

-- the step of a command that must be taken once
alter table ordering.order_events add column command_id uuid;
create unique index order_events_command on ordering.order_events (order_id, command_id) where command_id is not null;

-- payment: one row for each movement of money; its id is its idempotency key with the payment company
create table ordering.payments (
  id uuid primary key,
  order_id uuid not null references ordering.orders (id),
  ordinal smallint not null,
  type text not null check (type in ('authorization', 'capture', 'void', 'refund')),
  status text not null check (status in ('pending', 'succeeded', 'failed')),
  amount bigint not null check (amount > 0),
  currency text not null,
  provider text not null,
  reference text,
  authorization_id uuid references ordering.payments (id),
  multicapture boolean not null default false,
  awaiting boolean not null default false,
  final boolean not null default false,
  reason text,
  return_id uuid,
  created_at timestamptz(3) not null,
  updated_at timestamptz(3) not null default now(),
  unique (order_id, ordinal)
);
create index payments_pending on ordering.payments (updated_at) where status = 'pending';

create table ordering.shipments (
  id uuid primary key,
  order_id uuid not null references ordering.orders (id),
  ordinal smallint not null,
  carrier text not null,
  tracking_number text,
  status text not null check (status in ('created', 'in_transit', 'out_for_delivery', 'delivered')),
  lines jsonb not null,
  events jsonb not null,
  created_at timestamptz(3) not null,
  unique (order_id, ordinal)
);
create index shipments_tracking_number on ordering.shipments (tracking_number);

create table ordering.returns (
  id uuid primary key,
  order_id uuid not null references ordering.orders (id),
  ordinal smallint not null,
  status text not null check (status in ('requested', 'approved', 'rejected', 'received', 'refunded')),
  lines jsonb not null,
  reason text not null,
  waived bigint not null default 0 check (waived >= 0),
  created_at timestamptz(3) not null,
  updated_at timestamptz(3) not null,
  unique (order_id, ordinal)
);

-- one order may tell several events of one type, for example shipments: the id is made of (order, event, channel)
alter table messaging.notifications drop constraint notifications_order_id_event_type_channel_key;
create index notifications_order on messaging.notifications (order_id);
create index notifications_queued on messaging.notifications (created_at) where status = 'queued';

-- how far the reconciling has come on its rounds; one row at the most
create table ordering.reconciliation (
  only_one boolean primary key default true check (only_one),
  live_after uuid not null default '00000000-0000-0000-0000-000000000000',
  sku_after text not null default '' collate "C",
  holding_after uuid not null default '00000000-0000-0000-0000-000000000000',
  ended_after timestamptz(3) not null default now()
);
insert into ordering.reconciliation default values;

-- what reconciling found wrong
create table ordering.findings (
  kind text not null,
  subject text not null,
  healed boolean not null,
  times integer not null default 1,
  first_at timestamptz(3) not null default now(),
  last_at timestamptz(3) not null default now(),
  primary key (kind, subject)
);

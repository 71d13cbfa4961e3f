-- Recorded events in an order in which none is skipped: (xid, position), read up to the oldest transaction that still
-- runs. Constant defaults first, so that no row is rewritten: events from before this stay at (0, 0), behind everything.
create sequence ordering.order_events_position;
alter table ordering.order_events
  add column xid xid8 not null default '0',
  add column position bigint not null default 0;
alter table ordering.order_events
  alter column xid set default pg_current_xact_id(),
  alter column position set default nextval('ordering.order_events_position');
alter sequence ordering.order_events_position owned by ordering.order_events.position;
create index order_events_recorded on ordering.order_events (xid, position) where position > 0;

-- how far the recorded events were made into deliveries; one row
create table messaging.webhook_cursor (
  only_one boolean primary key default true check (only_one),
  xid xid8 not null,
  position bigint not null
);
insert into messaging.webhook_cursor (xid, position) values (pg_current_xact_id(), 0);

create table messaging.webhook_endpoints (
  id uuid primary key,
  url text not null,
  -- all where there is none; the end may be a wildcard: return.*
  event_types text[] not null default '{}',
  description text not null default '',
  enabled boolean not null default true,
  disabled_reason text check (disabled_reason in ('gone', 'failing')),
  secret text not null,
  -- signs beside the new one until then
  previous_secret text,
  previous_secret_until timestamptz(3),
  -- since then no delivery has succeeded
  failing_since timestamptz(3),
  -- its deliveries stay
  deleted_at timestamptz(3),
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now()
);
create index webhook_endpoints_newest on messaging.webhook_endpoints (created_at desc, id desc) where deleted_at is null;

create table messaging.webhook_deliveries (
  id uuid primary key,
  endpoint_id uuid not null references messaging.webhook_endpoints (id),
  event_type text not null,
  order_id uuid,
  -- sent as it is here, to the byte
  payload text not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  attempts jsonb not null default '[]',
  -- how often it was replayed, and the failed attempts since
  round integer not null default 0,
  failures integer not null default 0,
  next_attempt_at timestamptz(3),
  -- when its workflow is to hear of it (again: it may be lost); none where the delivery has ended
  tell_at timestamptz(3) default now(),
  created_at timestamptz(3) not null default now()
);
-- one for each way to list them; a list of all merges the statuses
create index webhook_deliveries_of_endpoint on messaging.webhook_deliveries (endpoint_id, created_at desc, id desc);
create index webhook_deliveries_in_status on messaging.webhook_deliveries (status, created_at desc, id desc);
create index webhook_deliveries_of_type on messaging.webhook_deliveries (event_type, created_at desc, id desc);
create index webhook_deliveries_to_tell on messaging.webhook_deliveries (tell_at) where tell_at is not null;

-- People: customers who register, change and leave; API keys; keys that sign tokens; what callers may do in a minute.

-- A deleted customer keeps its id, for the orders that stay, and nothing that tells who it was. erase_at: when to look
-- again for traces, because an order that has not ended still needs its address
alter table identity.users
  alter column email drop not null,
  add column version integer not null default 1,
  add column updated_at timestamptz(3) not null default now(),
  add column deleted_at timestamptz(3),
  add column erase_at timestamptz(3),
  add constraint users_reachable_or_deleted check ((email is null) = (deleted_at is not null));
create index customers_newest on identity.users (created_at desc, id desc) where role = 'customer' and deleted_at is null;
create index users_deleted on identity.users (deleted_at) where deleted_at is not null;
create index users_to_erase on identity.users (erase_at) where erase_at is not null;
-- the start of a customer's last name; those of whole names and emails are there
create index users_surname_start on identity.users (lower(substring(name from '\S+$')) collate "C", id);

create table identity.customer_addresses (
  id uuid primary key,
  customer_id uuid not null references identity.users (id) on delete cascade,
  address jsonb not null,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now()
);
create index customer_addresses_newest on identity.customer_addresses (customer_id, created_at desc, id desc);

-- shown once, kept as a hash; a revoked key stays, because timelines name it
create table identity.api_keys (
  id uuid primary key,
  name text not null,
  role text not null check (role in ('staff', 'admin')),
  key_hash text not null unique,
  created_by uuid not null,
  created_at timestamptz(3) not null default now(),
  expires_at timestamptz(3),
  last_used_at timestamptz(3),
  revoked_at timestamptz(3)
);
create index api_keys_newest on identity.api_keys (created_at desc, id desc) where revoked_at is null;

-- what signs access tokens where the environment does not say. The newest signs; one that was retired verifies until the
-- last token it has signed is over. The one key of earlier releases is 'first', and so are tokens that name no key
create table identity.signing_keys (
  kid text primary key,
  secret text not null,
  created_at timestamptz(3) not null default now(),
  retired_at timestamptz(3)
);
insert into identity.signing_keys (kid, secret) select 'first', secret from identity.signing_secret;

-- how often callers have called in their present minute, over all API processes; lost in a crash, which is no loss
create unlogged table identity.rate_counts (
  key text primary key,
  hits integer not null,
  ends_at timestamptz(3) not null
) with (fillfactor = 50);

-- what was told to an address without saying whose it is
create index notifications_to_recipient on messaging.notifications (lower(recipient)) where customer_id is null;

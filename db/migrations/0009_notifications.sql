-- Notifications over three channels, by each customer's preferences.

-- how a customer wants to be told; one without a row hears by email and push
create table messaging.preferences (
  customer_id uuid primary key,
  email boolean not null,
  sms boolean not null,
  push boolean not null,
  phone text,
  quiet_start text,
  quiet_end text,
  time_zone text,
  updated_at timestamptz(3) not null default now(),
  constraint quiet_hours_are_whole check (num_nulls(quiet_start, quiet_end, time_zone) in (0, 3))
);

alter table messaging.notifications
  -- when the pump takes it up; null while its workflow, which keeps trying, has it
  add column due_at timestamptz(3) default now(),
  -- how many attempts were made before it was last replayed
  add column past_attempts integer not null default 0,
  -- which wording it was sent with
  add column template_version text;
-- a claim changes no index: where its page has room it is a heap-only update
alter table messaging.notifications set (fillfactor = 70);
drop index messaging.notifications_queued;
create index notifications_due on messaging.notifications (channel, due_at) where status = 'queued';
create index notifications_retried on messaging.notifications (created_at) where status = 'queued' and due_at is null;

-- lists walk an index, newest first: by customer, or by status; one of all merges the statuses
drop index messaging.notifications_newest;
create index notifications_in_status on messaging.notifications (status, created_at desc, id desc);
create index notifications_of_customer on messaging.notifications (customer_id, created_at desc, id desc);

-- what was pushed: the inbox of the customer's devices
create table messaging.push_messages (
  id uuid primary key,
  recipient text not null,
  title text not null,
  body text not null,
  at timestamptz(3) not null default now()
);
create index push_messages_newest on messaging.push_messages (recipient, at desc, id desc);

create table mock_company.sms_messages (
  id uuid primary key,
  recipient text not null,
  body text not null,
  at timestamptz(3) not null default now()
);

-- Reconciling looks whether the workflows of returns that have ended know it, in the order in which they ended.
alter table ordering.reconciliation
  add column returns_after timestamptz(3) not null default now(),
  add column returns_after_id uuid not null default '00000000-0000-0000-0000-000000000000';
create index returns_ended on ordering.returns (updated_at, id) where status in ('rejected', 'refunded');

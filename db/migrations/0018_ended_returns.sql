-- Reconciling looks whether the workflows of returns that have ended know it, in the order in which they ended.
alter table ordering.reconciliation add column returns_after timestamptz(3) not null default now();
create index returns_ended on ordering.returns (updated_at) where status in ('rejected', 'refunded');

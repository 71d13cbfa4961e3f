-- Of the orders that ended in the same moment reconciling may look at some in one run, and at the others in the next.
drop index ordering.orders_ended;
create index orders_ended on ordering.orders (updated_at, id) where status in ('cancelled', 'delivered');
alter table ordering.reconciliation
  add column ended_after_id uuid not null default '00000000-0000-0000-0000-000000000000';

-- Orders whose workflows have still to hear of them: written in the transaction that places an order, or changes it,
-- without its workflow. A row goes when Temporal has taken the message.
create table ordering.outbox (
  order_id uuid primary key,
  -- the order as it was accepted: the input of its workflow
  accepted jsonb not null,
  created_at timestamptz(3) not null default now(),
  -- until then one dispatcher has it for itself
  claimed_until timestamptz(3)
);
create index outbox_oldest on ordering.outbox (created_at, order_id);

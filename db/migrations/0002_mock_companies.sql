-- mock_company: the books of the payment company and the carrier that are not there. Nothing of ours refers to them.

create schema mock_company;

create table mock_company.payment_intents (
  id uuid primary key,
  amount bigint not null check (amount >= 0),
  currency text not null,
  token text not null,
  status text not null check (status in
    ('processing', 'authorized', 'captured', 'voided', 'expired', 'declined', 'failed')),
  multicapture boolean not null,
  expires boolean not null,
  captured bigint not null default 0,
  refunded bigint not null default 0,
  calls integer not null default 1,
  created_at timestamptz(3) not null default now(),
  constraint intent_adds_up check (captured <= amount and refunded <= captured)
) with (fillfactor = 80);
create index payment_intents_oldest on mock_company.payment_intents (created_at);

-- each movement of money once, with the answer it got
create table mock_company.payment_movements (
  key uuid primary key,
  intent_id uuid not null references mock_company.payment_intents (id),
  type text not null check (type in ('capture', 'void', 'refund')),
  amount bigint not null check (amount >= 0),
  answer text not null check (answer in ('done', 'authorization_expired', 'not_possible')),
  at timestamptz(3) not null default now()
);
create index payment_movements_intent on mock_company.payment_movements (intent_id);

create table mock_company.carrier_bookings (
  shipment_id uuid primary key,
  tracking_number text not null,
  order_number text not null,
  carrier text not null,
  status text not null default 'booked' check (status in ('booked', 'cancelled')),
  created_at timestamptz(3) not null default now()
);

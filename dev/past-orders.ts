import { Client } from 'pg';

/**
 * Fills the database with orders of the past, for tests and benchmarks of large tables: number `from` is the newest, `to`
 * (exclusive) the oldest. Every customer has 20 on average, the one named `regular` one in a hundred. Nine in ten are
 * delivered, the others cancelled or rejected: no workflow, no stock and no money waits for any of them. Skus are
 * `PAST-0` to `PAST-999`, the first ones the most popular. Returns when the planner
 * knows of it all. `superuserUrl` leads to the database as a superuser, who may leave foreign keys unchecked that hold
 * anyway: that halves the time.
 */
export async function addPastOrders(
  superuserUrl: string,
  { from, to, regular }: { from: number; to: number; regular: string },
): Promise<void> {
  const clients = [0, 1].map(() => new Client({ connectionString: superuserUrl }));
  const [first] = clients as [Client, Client];
  try {
    for (const client of clients) await client.connect();
    await first.query(CUSTOMERS, [from / 20, to / 20]);
    let next = from;
    const fill = async (client: Client): Promise<void> => {
      await client.query('set synchronous_commit = off; set session_replication_role = replica');
      while (next < to) {
        const start = next;
        next = Math.min(start + BATCH, to);
        await client.query(ORDERS, [start, next, regular, from / 20, to / 20]);
      }
    };
    await Promise.all(clients.map(fill));
    for (const table of ['identity.users', 'ordering.orders', 'ordering.order_lines', 'ordering.shipments']) {
      await first.query(`analyze ${table}`);
    }
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

const BATCH = 10_000;

const CUSTOMERS = `
  insert into identity.users (id, email, name, role)
  select md5('customer' || number)::uuid, 'customer-' || number || '@example.org', 'Customer ' || number, 'customer'
  from generate_series($1::int, $2::int - 1) as number
  on conflict do nothing
`;

const ORDERS = `
  with drawn as materialized (
    select number, md5('order' || number)::uuid as id, random() as fate, random() as popularity, random() as customer,
      now() - interval '2 hours' - number * interval '15 seconds' as created_at
    from generate_series($1::int, $2::int - 1) as number
  ),
  ended as (
    insert into ordering.orders (id, number, customer_id, placed_by, request_hash, status, payment_status, payment_method,
      payment_token, currency, total, shipping_address, last_event_seq, created_at, updated_at)
    select id, overlay(upper(lpad(to_hex((number::bigint * 618970019642 + 1) & ((1::bigint << 40) - 1)), 10, '0')) placing '-' from 6 for 0),
      case when number % 100 = 0 then $3::uuid
        else md5('customer' || floor($4::int + customer * ($5::int - $4::int)))::uuid end,
      'system', '', case when fate < 0.9 then 'delivered' when fate < 0.97 then 'cancelled' else 'rejected' end,
      case when fate < 0.9 then 'captured' when fate < 0.97 then 'voided' else 'none' end,
      'card', 'tok_ok', 'USD', 4998,
      '{"name": "A Buyer", "line1": "1 Main St", "city": "Springfield", "postalCode": "12345", "country": "US"}',
      4, created_at, created_at
    from drawn
  ),
  lines as (
    insert into ordering.order_lines (order_id, created_at, position, id, sku, name, quantity, unit_price,
      cancelled_quantity, shipped_quantity)
    select drawn.id, created_at, position, md5(drawn.id || '/' || position)::uuid, 'PAST-' || sku, 'Product ' || sku, 1, 2499,
      case when fate between 0.9 and 0.97 then 1 else 0 end, case when fate < 0.9 then 1 else 0 end
    from drawn cross join lateral (
      values (1, floor(1000 * popularity ^ 3)), (2, floor(1000 * popularity ^ 3 + 500)::int % 1000)
    ) as line (position, sku)
    where position = 1 or number % 3 = 0
  )
  insert into ordering.shipments (id, order_id, ordinal, carrier, status, lines, events, created_at)
  select md5(id || '/shipment')::uuid, id, 0, 'UPS', 'delivered',
    jsonb_build_array(jsonb_build_object('lineId', md5(id || '/1')::uuid, 'quantity', 1)),
    '[]', created_at
  from drawn where fate < 0.9
`;

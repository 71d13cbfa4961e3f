/**
 * A shift in the warehouse: takes the oldest orders that wait, sends them off, and notes their arrival.
 *
 *     npm start, and then: node --import tsx examples/warehouse.ts
 */
import { createClient, dataOf, type Order, ProblemError } from '../sdk/client.ts'; // elsewhere: 'holdfast/client'

const api = createClient({ baseUrl: process.env['API_URL'] ?? 'http://127.0.0.1:3000' });
await api.logIn('staff@example.com', 'demo-password');

/** Every order that waits to be shipped, page by page. */
async function* waiting(): AsyncGenerator<Order> {
  let cursor: string | null | undefined;
  do {
    const query = { status: 'confirmed' as const, ...(cursor && { cursor }) };
    const page = await dataOf(api.GET('/v1/orders', { params: { query } }));
    yield* page.data;
    cursor = page.nextCursor;
  } while (cursor);
}

const found: Order[] = [];
for await (const order of waiting()) found.push(order);
console.log(`${found.length} orders wait`);

for (const order of found.toReversed().slice(0, 3)) {
  try {
    const shipment = await dataOf(
      api.POST('/v1/orders/{id}/shipments', {
        // Only if nobody has cancelled a part of it since the list was read.
        params: { path: { id: order.id }, header: { 'If-Match': `"${order.version}"` } },
        body: { carrier: 'UPS' },
      }),
    );
    console.log(`Order ${order.number} is on its way: ${shipment.carrier} ${shipment.trackingNumber}`);
    const path = { id: shipment.id };
    const arrived = await dataOf(api.POST('/v1/shipments/{id}/deliver', { params: { path } }));
    console.log(`Order ${order.number} is ${arrived.status}`);
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    console.log(`Order ${order.number} stays here: ${error.message}`);
  }
}

for (const { sku } of found[0]?.lines ?? []) {
  const stock = await dataOf(api.GET('/v1/inventory/{sku}', { params: { path: { sku } } }));
  console.log(`${sku}: ${stock.onHand} on hand, ${stock.reserved} reserved`);
}

await api.logOut();

/**
 * A customer's evening: logs in, looks around, orders, and changes its mind about a second order.
 *
 *     npm start, and then: node --import tsx examples/storefront.ts
 */
import { randomUUID } from 'node:crypto';
import { createClient, dataOf, type Order, ProblemError } from '../sdk/client.ts'; // elsewhere: 'holdfast/client'

const api = createClient({ baseUrl: process.env['API_URL'] ?? 'http://127.0.0.1:3000' });
await api.logIn('john.smith@example.com', 'demo-password');

const { data: products } = await dataOf(
  api.GET('/v1/products', { params: { query: { sort: 'price', limit: 5 } } }),
);
for (const { sku, name, price, currency } of products)
  console.log(`${sku}: ${name}, ${price / 100} ${currency}`);
const [cheapest] = products;
if (!cheapest) throw new Error('The shop is empty');

/** The key is kept with the basket, so that a second click, or a page that is loaded again, means the same order. */
const place = (key: string, quantity: number, expectedTotal?: number): Promise<Order> =>
  dataOf(
    api.POST('/v1/orders', {
      params: { header: { 'Idempotency-Key': key, Prefer: 'wait=5' } },
      body: {
        lines: [{ sku: cheapest.sku, quantity }],
        shippingAddress: {
          name: 'John Smith',
          line1: '12 High Street',
          city: 'Springfield',
          postalCode: '62701',
          country: 'US',
        },
        payment: { method: 'card', token: 'tok_ok' },
        ...(expectedTotal !== undefined && { expectedTotal }),
      },
    }),
  );

/** Most orders are settled when they are answered; one that is still pending is asked for again. */
async function settled(order: Order): Promise<Order> {
  let latest = order;
  while (latest.status === 'pending') {
    await new Promise((resolve) => setTimeout(resolve, 500));
    latest = await dataOf(api.GET('/v1/orders/{id}', { params: { path: { id: order.id } } }));
  }
  return latest;
}

const basket = randomUUID();
const order = await settled(await place(basket, 1));
console.log(`Order ${order.number} is ${order.status}: ${order.total / 100} ${order.currency}`);

const again = await place(basket, 1);
console.log(`Sent again, it is order ${again.number}`);

try {
  await place(randomUUID(), 2, 1);
} catch (error) {
  if (!(error instanceof ProblemError)) throw error;
  console.log(`A price that is not true any more is refused: ${error.code}`);
}

const other = await settled(await place(randomUUID(), 2));
const cancelled = await dataOf(
  api.POST('/v1/orders/{id}/cancel', {
    params: { path: { id: other.id } },
    body: { reason: 'changed my mind' },
  }),
);
console.log(`Order ${cancelled.number} is ${cancelled.status}: ${cancelled.cancellation?.reason}`);

await api.logOut();

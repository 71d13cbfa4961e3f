/**
 * A customer's evening: registers, looks around, fills a cart, checks out, and changes its mind about a second order.
 *
 *     npm start, and then: node --import tsx examples/storefront.ts
 */
import { randomUUID } from 'node:crypto';
import { createClient, dataOf, type Order, ProblemError } from '../sdk/client.ts'; // elsewhere: 'holdfast/client'

const api = createClient({ baseUrl: process.env['API_URL'] ?? 'http://127.0.0.1:3000' });
const [email, password] = [`vera-${randomUUID()}@example.com`, 'correct horse battery staple'];
await api.POST('/v1/auth/register', { body: { email, password, name: 'Vera Visitor' } });
await api.logIn(email, password);

const { data: products } = await dataOf(
  api.GET('/v1/products', { params: { query: { sort: 'price', limit: 5 } } }),
);
for (const { sku, name, price, currency } of products)
  console.log(`${sku}: ${name}, ${price / 100} ${currency}`);
const [cheapest] = products;
if (!cheapest) throw new Error('The shop is empty');

const shippingAddress = {
  name: 'Vera Visitor',
  line1: '12 High Street',
  city: 'Springfield',
  postalCode: '62701',
  country: 'US',
};

await api.POST('/v1/cart/items', { body: { sku: cheapest.sku, quantity: 1 } });
const cart = await dataOf(api.GET('/v1/cart'));
console.log(`The cart: ${cart.items.map(({ quantity, name }) => `${quantity} x ${name}`).join(', ')}`);

/** The key is kept with the cart, so that a second click, or a page that is loaded again, means the same order. */
const checkOut = (key: string): Promise<Order> =>
  dataOf(
    api.POST('/v1/cart/checkout', {
      params: { header: { 'Idempotency-Key': key, Prefer: 'wait=5' } },
      body: { shippingAddress, payment: { method: 'card', token: 'tok_ok' }, expectedTotal: cart.total },
    }),
  );

/** The same without a cart. */
const place = (key: string, quantity: number, expectedTotal?: number): Promise<Order> =>
  dataOf(
    api.POST('/v1/orders', {
      params: { header: { 'Idempotency-Key': key, Prefer: 'wait=5' } },
      body: {
        lines: [{ sku: cheapest.sku, quantity }],
        shippingAddress,
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

const key = randomUUID();
const order = await settled(await checkOut(key));
console.log(`Order ${order.number} is ${order.status}: ${order.total / 100} ${order.currency}`);

const again = await checkOut(key);
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

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { address, type Api, orderOf } from './harness/http.ts';
import { conforming, readDescription } from './harness/openapi.ts';
import { expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';

const SKU = 'MOUSE-WL';
const JOHN = '550e8400-e29b-41d4-a716-446655440000';
const anything = randomUUID();

/** What none, a customer, staff and an admin get. */
type Expected = [number, number, number, number];

/**
 * Every endpoint there is, with a request that changes nothing. A program with an API key gets what its role gets, and a
 * token that is no good what none gets.
 */
const table: [method: string, path: string, expected: Expected, body?: unknown][] = [
  ['POST', '/v1/auth/register', [422, 422, 422, 422], {}],
  ['POST', '/v1/auth/login', [422, 422, 422, 422], {}],
  ['POST', '/v1/auth/refresh', [422, 422, 422, 422], {}],
  ['POST', '/v1/auth/logout', [422, 422, 422, 422], {}],
  ['POST', '/v1/auth/password', [422, 422, 422, 422], {}],
  ['GET', '/v1/api-keys', [401, 403, 403, 200]],
  ['POST', '/v1/api-keys', [401, 403, 403, 422], {}],
  ['DELETE', `/v1/api-keys/${anything}`, [401, 403, 403, 404]],
  ['GET', '/v1/customers', [401, 403, 403, 200]],
  ['POST', '/v1/customers', [401, 403, 403, 422], {}],
  ['GET', `/v1/customers/${anything}`, [401, 404, 403, 404]],
  ['PUT', `/v1/customers/${anything}`, [401, 404, 403, 404], { email: 'x@example.org', name: 'x' }],
  ['PATCH', `/v1/customers/${anything}`, [401, 404, 403, 404], { name: 'x' }],
  ['DELETE', `/v1/customers/${anything}`, [401, 404, 403, 404]],
  ['GET', `/v1/customers/${anything}/addresses`, [401, 404, 403, 404]],
  ['POST', `/v1/customers/${anything}/addresses`, [401, 404, 403, 404], address],
  ['GET', `/v1/customers/${anything}/addresses/${anything}`, [401, 404, 403, 404]],
  ['PUT', `/v1/customers/${anything}/addresses/${anything}`, [401, 404, 403, 404], address],
  ['DELETE', `/v1/customers/${anything}/addresses/${anything}`, [401, 404, 403, 404]],
  ['POST', '/v1/orders', [401, 422, 422, 422], {}],
  ['GET', '/v1/orders', [401, 200, 200, 200]],
  ['GET', `/v1/orders/${anything}`, [401, 404, 404, 404]],
  ['DELETE', `/v1/orders/${anything}`, [401, 404, 404, 404]],
  ['PATCH', `/v1/orders/${anything}`, [401, 404, 404, 404], { note: 'x' }],
  ['GET', `/v1/orders/${anything}/events`, [401, 404, 404, 404]],
  ['POST', `/v1/orders/${anything}/cancel`, [401, 404, 404, 404]],
  ['POST', `/v1/orders/${anything}/shipments`, [401, 403, 422, 422], {}],
  ['GET', `/v1/orders/${anything}/payments`, [401, 404, 404, 404]],
  ['POST', `/v1/orders/${anything}/refunds`, [401, 403, 422, 422], {}],
  ['POST', `/v1/orders/${anything}/returns`, [401, 422, 422, 422], {}],
  ['GET', `/v1/shipments/${anything}`, [401, 404, 404, 404]],
  ['PATCH', `/v1/shipments/${anything}`, [401, 403, 404, 404], { status: 'in_transit' }],
  ['POST', `/v1/shipments/${anything}/deliver`, [401, 403, 404, 404]],
  ['GET', `/v1/returns/${anything}`, [401, 404, 404, 404]],
  ['POST', `/v1/returns/${anything}/approve`, [401, 403, 404, 404]],
  ['POST', `/v1/returns/${anything}/reject`, [401, 403, 404, 404]],
  ['POST', `/v1/returns/${anything}/receive`, [401, 403, 404, 404]],
  ['POST', '/v1/payments/mock/webhook', [401, 401, 401, 401], {}],
  ['POST', '/v1/carriers/mock/webhook', [401, 401, 401, 401], {}],
  ['GET', '/v1/inventory', [401, 403, 200, 200]],
  ['GET', '/v1/inventory/summary', [401, 403, 200, 200]],
  ['GET', `/v1/inventory/${SKU}`, [401, 403, 200, 200]],
  ['PUT', `/v1/inventory/${SKU}`, [401, 403, 422, 422], {}],
  ['DELETE', '/v1/inventory/NO-SUCH-SKU', [401, 403, 404, 404]],
  ['POST', `/v1/inventory/${SKU}/adjustments`, [401, 403, 422, 422], {}],
  ['GET', `/v1/inventory/${SKU}/movements`, [401, 403, 200, 200]],
  ['GET', '/v1/products', [200, 200, 200, 200]],
  ['POST', '/v1/products', [401, 403, 422, 422], {}],
  ['GET', `/v1/products/${SKU}`, [200, 200, 200, 200]],
  ['PUT', `/v1/products/${SKU}`, [401, 403, 422, 422], {}],
  ['PATCH', `/v1/products/${SKU}`, [401, 403, 422, 422], { price: -1 }],
  ['DELETE', '/v1/products/NO-SUCH-SKU', [401, 403, 404, 404]],
  ['GET', '/v1/cart', [200, 200, 403, 403]],
  ['DELETE', '/v1/cart', [200, 200, 403, 403]],
  ['POST', '/v1/cart/items', [422, 422, 403, 403], {}],
  ['PATCH', '/v1/cart/items/NO-SUCH-SKU', [404, 404, 403, 403], { quantity: 1 }],
  ['DELETE', '/v1/cart/items/NO-SUCH-SKU', [404, 404, 403, 403]],
  ['POST', '/v1/cart/checkout', [401, 422, 403, 403], {}],
  ['POST', '/v1/notifications', [401, 403, 422, 422], {}],
  ['GET', '/v1/notifications', [401, 200, 200, 200]],
  ['GET', `/v1/notifications/${anything}`, [401, 404, 404, 404]],
  ['POST', '/v1/notifications/replay', [401, 403, 422, 422], {}],
  ['POST', `/v1/notifications/${anything}/replay`, [401, 403, 404, 404]],
  ['GET', '/v1/notification-templates', [401, 403, 200, 200]],
  ['GET', '/v1/notification-templates/message/preview', [401, 403, 200, 200]],
  ['GET', `/v1/customers/${anything}/notification-preferences`, [401, 404, 404, 404]],
  ['PUT', `/v1/customers/${anything}/notification-preferences`, [401, 422, 422, 422], {}],
  // A stream: with a query that is not known it ends at once.
  ['GET', '/v1/events?unknown=1', [401, 400, 400, 400]],
  ['GET', '/v1/webhook-endpoints', [401, 403, 403, 200]],
  ['POST', '/v1/webhook-endpoints', [401, 403, 403, 422], {}],
  ['GET', `/v1/webhook-endpoints/${anything}`, [401, 403, 403, 404]],
  ['PATCH', `/v1/webhook-endpoints/${anything}`, [401, 403, 403, 404], { enabled: true }],
  ['DELETE', `/v1/webhook-endpoints/${anything}`, [401, 403, 403, 404]],
  ['POST', `/v1/webhook-endpoints/${anything}/rotate-secret`, [401, 403, 403, 404]],
  ['POST', `/v1/webhook-endpoints/${anything}/test`, [401, 403, 403, 404]],
  ['GET', '/v1/webhook-deliveries', [401, 403, 403, 200]],
  ['GET', `/v1/webhook-deliveries/${anything}`, [401, 403, 403, 404]],
  ['POST', `/v1/webhook-deliveries/${anything}/replay`, [401, 403, 403, 404]],
  ['POST', '/v1/imports', [401, 403, 415, 415], {}],
  ['GET', `/v1/imports/${anything}`, [401, 403, 404, 404]],
  ['GET', '/v1/exports/products', [401, 403, 200, 200]],
  ['GET', '/v1/exports/inventory', [401, 403, 200, 200]],
  ['GET', '/v1/exports/orders', [401, 403, 200, 200]],
  ['GET', '/livez', [200, 200, 200, 200]],
  ['GET', '/readyz', [200, 200, 200, 200]],
  ['GET', '/metrics', [200, 200, 200, 200]],
];

/** What somebody has: the things that John has, as another customer asks for them. */
interface Things {
  order: string;
  number: string;
  shipment: string;
  return: string;
  address: string;
  notification: string;
}

/**
 * Every endpoint at which a customer names a thing: somebody else's does not exist. Bodies are good ones, so that nothing
 * but whose it is decides.
 */
const strangers: [method: string, path: (of: Things) => string, body?: (of: Things) => unknown][] = [
  ['GET', () => `/v1/customers/${JOHN}`],
  ['PUT', () => `/v1/customers/${JOHN}`, () => ({ email: 'stolen@example.org', name: 'Stolen' })],
  ['PATCH', () => `/v1/customers/${JOHN}`, () => ({ name: 'Stolen' })],
  ['DELETE', () => `/v1/customers/${JOHN}`],
  ['GET', () => `/v1/customers/${JOHN}/addresses`],
  ['POST', () => `/v1/customers/${JOHN}/addresses`, () => address],
  ['GET', (of) => `/v1/customers/${JOHN}/addresses/${of.address}`],
  ['PUT', (of) => `/v1/customers/${JOHN}/addresses/${of.address}`, () => address],
  ['DELETE', (of) => `/v1/customers/${JOHN}/addresses/${of.address}`],
  ['GET', (of) => `/v1/orders/${of.order}`],
  ['GET', (of) => `/v1/orders/${of.number}`],
  ['PATCH', (of) => `/v1/orders/${of.order}`, () => ({ note: 'stolen' })],
  ['DELETE', (of) => `/v1/orders/${of.order}`],
  ['POST', (of) => `/v1/orders/${of.order}/cancel`, () => ({})],
  ['GET', (of) => `/v1/orders/${of.order}/events`],
  ['GET', (of) => `/v1/orders/${of.order}/payments`],
  [
    'POST',
    (of) => `/v1/orders/${of.order}/returns`,
    () => ({ lines: [{ lineId: anything, quantity: 1 }], reason: 'x' }),
  ],
  ['GET', (of) => `/v1/shipments/${of.shipment}`],
  ['GET', (of) => `/v1/returns/${of.return}`],
  ['GET', (of) => `/v1/notifications/${of.notification}`],
  ['GET', () => `/v1/customers/${JOHN}/notification-preferences`],
  [
    'PUT',
    () => `/v1/customers/${JOHN}/notification-preferences`,
    () => ({ channels: { email: false, sms: false, push: false }, language: 'en' }),
  ],
];

let stack: TestStack;
let api: Api;
let keys: { staff: string; admin: string };
beforeAll(async () => {
  stack = await startStack();
  api = await conforming(stack.api);
  const keyOf = async (role: string): Promise<string> => {
    const body = { name: role, role };
    return (await api.request('POST', '/v1/api-keys', { token: stack.tokens.admin, body })).body.key;
  };
  keys = { staff: await keyOf('staff'), admin: await keyOf('admin') };
});
afterAll(() => stack.stop());

describe('who may do what', () => {
  test.each(table)('%s %s', async (method, path, expected, body) => {
    const [none, customer, staff, admin] = expected;
    // Where a visitor needs no token, one that is no good is still refused.
    const bad = path.startsWith('/v1/cart') ? 401 : none;
    const callers: [string | undefined, number][] = [
      [undefined, none],
      ['not-a-token', bad],
      [`hfk_${'A'.repeat(43)}`, bad],
      [stack.tokens.john, customer],
      [stack.tokens.staff, staff],
      [keys.staff, staff],
      [stack.tokens.admin, admin],
      [keys.admin, admin],
    ];
    const answers = await Promise.all(
      callers.map(([token]) =>
        api.request(method, path, { token, body, headers: { 'idempotency-key': randomUUID() } }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(callers.map(([, status]) => status));
    for (const answer of answers) {
      if (answer.status >= 400) expectProblem(answer, answer.status);
      if (answer.status === 403) expect(answer.body.code).toBe('forbidden');
    }
  });

  /** The path of the description that this path means. */
  const templateOf = (path: string): string =>
    path
      .replace(/\?.*/, '')
      .replace(/\/addresses\/.+/, '/addresses/{addressId}')
      .replace(/(?<=\/)([0-9a-f]{8}-[0-9a-f-]{27}|[0-9A-Z]{5}-[0-9A-Z]{5})/g, '{id}')
      .replace(/(MOUSE-WL|NO-SUCH-SKU)/, '{sku}')
      .replace(/\/(mock|message)\//, '/{name}/');

  test('is told above for every endpoint there is', async () => {
    const { paths } = await readDescription(stack.api);
    const described = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const known = table.map(([method, path]) => `${method} ${templateOf(path)}`);
    expect(described.toSorted()).toEqual(known.toSorted());
  });

  test('somebody else’s things do not exist, at every endpoint where a customer names one', async () => {
    const { things, before } = await thingsOfJohn();
    for (const [method, path, body] of strangers) {
      const answer = await api.request(method, path(things), {
        token: stack.tokens.jane,
        body: body?.(things),
      });
      expect(answer.status, `${method} ${path(things)}`).toBe(404);
      expectProblem(answer, 404, 'not_found');
    }
    expect(await stateOf(things)).toEqual(before);
    const asked = new Set(strangers.map(([method, path]) => `${method} ${templateOf(path(things))}`));
    const open = table
      .filter(([, path, [none, customer]]) => path.includes(anything) && none === 401 && customer !== 403)
      .map(([method, path]) => `${method} ${templateOf(path)}`);
    expect(open.filter((endpoint) => !asked.has(endpoint))).toEqual([]);
  });

  const as = (token: string, method: string, path: string, body?: unknown) =>
    api.request(method, path, { token, body });

  const stateOf = async (of: Things) =>
    await Promise.all(
      [
        `/v1/customers/${JOHN}`,
        `/v1/customers/${JOHN}/addresses`,
        `/v1/customers/${JOHN}/notification-preferences`,
        `/v1/orders/${of.order}`,
        `/v1/returns/${of.return}`,
      ].map(async (path) => (await as(stack.tokens.admin, 'GET', path)).body as unknown),
    );

  async function thingsOfJohn(): Promise<{ things: Things; before: unknown }> {
    const { john, staff } = stack.tokens;
    const { body: order } = await stack.api.place(john, orderOf([{ sku: SKU, quantity: 2 }]));
    const parcel = { carrier: 'UPS', lines: [{ lineId: order.lines[0]!.id, quantity: 1 }] };
    const shipment = await as(staff, 'POST', `/v1/orders/${order.id}/shipments`, parcel);
    await as(staff, 'POST', `/v1/shipments/${shipment.body.id}/deliver`);
    const back = { lines: parcel.lines, reason: 'too small' };
    const returned = await as(john, 'POST', `/v1/orders/${order.id}/returns`, back);
    const book = await as(john, 'POST', '/v1/customers/me/addresses', address);
    const told = await as(john, 'GET', `/v1/notifications?orderId=${order.id}`);
    const things = {
      notification: told.body.data[0]?.id as string,
      order: order.id,
      number: order.number,
      shipment: shipment.body.id as string,
      return: returned.body.id as string,
      address: book.body.id as string,
    };
    expect(Object.values(things)).not.toContain(undefined);
    return { things, before: await stateOf(things) };
  }
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Order } from '../domain/order.ts';
import { address, type Api, orderOf } from './harness/http.ts';
import { conforming } from './harness/openapi.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { startStack, type TestStack } from './harness/stack.ts';

let stack: TestStack;
let api: Api;
beforeAll(async () => {
  stack = await startStack();
  api = await conforming(stack.api);
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});

const elsewhere = { ...address, line1: '99 Elsewhere Road', city: 'Shelbyville' };
const place = async (): Promise<Order> =>
  (await api.place(stack.tokens.john, orderOf([{ sku: 'TABLET-11', quantity: 1 }]))).body;
const change = (
  order: Order,
  body: unknown,
  headers: Record<string, string> = {},
  token = stack.tokens.john,
) => api.request<Order>('PATCH', `/v1/orders/${order.id}`, { token, body, headers });
const eventsOf = async ({ id }: Order): Promise<string[]> => {
  const { body } = await api.request('GET', `/v1/orders/${id}/events`, { token: stack.tokens.staff });
  return body.data.map((event: { type: string }) => event.type);
};

describe('changing an order', () => {
  test('the address and the note, each time one version on, and only the address in the timeline', async () => {
    const order = await place();
    const moved = await change(order, { shippingAddress: elsewhere });
    expect(moved.status).toBe(200);
    expect(moved.headers.get('etag')).toBe('"2"');
    expect(moved.body).toMatchObject({ status: 'confirmed', version: 2, shippingAddress: elsewhere });
    const noted = await change(order, { note: 'ring twice\nand wait' });
    expect(noted.body).toMatchObject({
      version: 3,
      note: 'ring twice\nand wait',
      shippingAddress: elsewhere,
    });
    const cleared = await change(order, { note: null });
    expect(cleared.body).not.toHaveProperty('note');
    expect((await eventsOf(order)).filter((type) => type === 'address.changed')).toHaveLength(1);
  });

  test('to what it is already changes nothing', async () => {
    const order = await place();
    const same = await change(order, { shippingAddress: address });
    expect(same).toMatchObject({ status: 200, body: { version: 1 } });
    expect(await eventsOf(order)).not.toContain('address.changed');
  });

  test('ten times at once with one If-Match: one wins, the others hear of it', async () => {
    const order = await place();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, number) =>
        change(order, { shippingAddress: { ...address, line2: `Floor ${number}` } }, { 'if-match': '"1"' }),
      ),
    );
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.filter((status) => status === 412)).toHaveLength(9);
    expect(await eventsOf(order)).toContain('address.changed');
  });

  test('by the operator, with the body of the HTTP request', async () => {
    const order = await place();
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    const state = await handle.executeUpdate('changeShippingAddress', {
      args: [{ shippingAddress: elsewhere }],
    });
    expect(state).toMatchObject({ orderId: order.id, status: 'confirmed' });
    const { body } = await api.request('GET', `/v1/orders/${order.id}`, { token: stack.tokens.john });
    expect(body.shippingAddress).toEqual(elsewhere);
  });

  test.each([
    ['nothing', undefined],
    ['an empty object', {}],
    ['a list', []],
    ['an address without a city', { shippingAddress: { ...address, city: undefined } }],
    ['an unknown field', { shippingAddress: { ...address, planet: 'Mars' } }],
    ['a country that is none', { shippingAddress: { ...address, country: 'usa' } }],
    ['a field that is no text', { shippingAddress: { ...address, line1: 7 } }],
    ['text no database takes', { shippingAddress: { ...address, line1: 'a\u0000b' } }],
    ['a note that is too long', { note: 'x'.repeat(2001) }],
  ])('by the operator with %s is refused, and harms nothing', async (_what, input) => {
    const order = await place();
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    await expect(handle.executeUpdate('changeShippingAddress', { args: [input] })).rejects.toMatchObject({
      cause: { type: 'validation_failed' },
    });
    expect(await handle.query('status')).toMatchObject({ status: 'confirmed' });
  });

  test('over HTTP with a bad body is 422', async () => {
    const order = await place();
    for (const body of [
      {},
      { status: 'shipped' },
      { shippingAddress: { ...address, city: '' } },
      { note: 7 },
    ]) {
      expect(await change(order, body)).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
    }
  });

  test('of somebody else is not found, and one that has ended is refused', async () => {
    const order = await place();
    expect(await change(order, { note: 'mine now' }, {}, stack.tokens.jane)).toMatchObject({ status: 404 });
    await api.request('DELETE', `/v1/orders/${order.id}`, { token: stack.tokens.john });
    const refused = await change(order, { shippingAddress: elsewhere });
    expect(refused).toMatchObject({
      status: 409,
      body: { code: 'invalid_transition', currentStatus: 'cancelled' },
    });
  });

  test('against cancelling at the same instant: the order ends cancelled, and nobody gets an error but 409', async () => {
    const orders = await Promise.all(Array.from({ length: 8 }, place));
    await Promise.all(
      orders.map(async (order) => {
        const [changed, cancelled] = await Promise.all([
          change(order, { shippingAddress: elsewhere }),
          api.request('DELETE', `/v1/orders/${order.id}`, { token: stack.tokens.john }),
        ]);
        expect([200, 409]).toContain(changed.status);
        expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
      }),
    );
  });

  test('whose workflow was terminated goes on from its row', async () => {
    const order = await place();
    await stack.temporal.workflow.getHandle(order.workflowId).terminate('by a test');
    expect(await change(order, { shippingAddress: elsewhere })).toMatchObject({
      status: 200,
      body: { version: 2 },
    });
    expect(await eventsOf(order)).toEqual(expect.arrayContaining(['workflow.restarted', 'address.changed']));
  });
});

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { address, type Answer, orderOf } from './harness/http.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

const JOHN = '550e8400-e29b-41d4-a716-446655440000';
const JANE = '550e8400-e29b-41d4-a716-446655440001';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});

const stockOf = async (sku: string) =>
  (await stack.api.request('GET', `/v1/inventory/${sku}`, { token: stack.tokens.staff })).body;
const eventsOf = async (id: string): Promise<string[]> => {
  const { body } = await stack.api.request('GET', `/v1/orders/${id}/events`, { token: stack.tokens.staff });
  return body.data.map((event: { type: string }) => event.type);
};

describe('placing an order', () => {
  test('takes the stock, asks for the money, confirms, starts a workflow and mails the customer', async () => {
    await stack.stock('PLACE-A', 10, 129900);
    await stack.stock('PLACE-B', 10, 2999);
    const placed = await stack.api.place(
      stack.tokens.john,
      orderOf(
        [
          { sku: 'PLACE-A', quantity: 1 },
          { sku: 'PLACE-B', quantity: 2 },
        ],
        { note: 'ring twice' },
      ),
    );

    expect(placed.status).toBe(201);
    expect(placed.headers.get('location')).toBe(`/v1/orders/${placed.body.id}`);
    expect(placed.headers.get('etag')).toBe('"1"');
    expect(placed.headers.get('idempotent-replayed')).toBeNull();
    expect(placed.body).toMatchObject({
      workflowId: `order-${placed.body.id}`,
      customerId: JOHN,
      status: 'confirmed',
      paymentStatus: 'authorized',
      currency: 'USD',
      subtotal: 135898,
      total: 135898,
      shippingAddress: address,
      shipments: [],
      note: 'ring twice',
      version: 1,
      lines: [
        { sku: 'PLACE-A', name: 'Product PLACE-A', quantity: 1, unitPrice: 129900, total: 129900 },
        {
          sku: 'PLACE-B',
          quantity: 2,
          unitPrice: 2999,
          total: 5998,
          cancelledQuantity: 0,
          shippedQuantity: 0,
        },
      ],
    });

    const read = await stack.api.request('GET', `/v1/orders/${placed.body.id}`, { token: stack.tokens.john });
    expect(read.body).toEqual(placed.body);
    const byNumber = await stack.api.request('GET', `/v1/orders/${placed.body.number.toLowerCase()}`, {
      token: stack.tokens.john,
    });
    expect(byNumber.body).toEqual(placed.body);

    expect(await stockOf('PLACE-A')).toMatchObject({ onHand: 10, reserved: 1, available: 9 });
    expect(await stockOf('PLACE-B')).toMatchObject({ onHand: 10, reserved: 2, available: 8 });

    const payments = await stack.api.request('GET', `/v1/orders/${placed.body.id}/payments`, {
      token: stack.tokens.john,
    });
    expect(payments.body.data).toMatchObject([
      { type: 'authorization', status: 'succeeded', amount: 135898, currency: 'USD', provider: 'mock' },
    ]);

    const handle = stack.temporal.workflow.getHandle(placed.body.workflowId);
    expect(await handle.query('status')).toEqual({
      orderId: placed.body.id,
      status: 'confirmed',
      paymentStatus: 'authorized',
    });
    expect((await handle.describe()).type).toBe('order');

    const [mail] = await eventually('the mail', async () => {
      const mails = await stack.mailsAbout(placed.body.number);
      return mails.length > 0 && mails;
    });
    expect(mail!.to[0]!.address).toBe('john.smith@example.com');
    expect(mail!.text).toContain('$1,358.98');
    expect(mail!.html).toContain('Product PLACE-A');
    await eventually('the timeline is complete', async () => (await eventsOf(placed.body.id)).length === 6);
    expect(await eventsOf(placed.body.id)).toEqual([
      'order.placed',
      'stock.reserved',
      'payment.authorized',
      'order.confirmed',
      'notification.sent',
      'notification.sent',
    ]);
  });

  test('adds up the lines of one sku before it looks at the stock', async () => {
    await stack.stock('MERGE', 5);
    const merged = await stack.api.place(
      stack.tokens.john,
      orderOf([
        { sku: 'MERGE', quantity: 2 },
        { sku: 'MOUSE-WL', quantity: 1 },
        { sku: 'MERGE', quantity: 3 },
      ]),
    );
    expect(merged.body.lines.map((line) => [line.sku, line.quantity])).toEqual([
      ['MERGE', 5],
      ['MOUSE-WL', 1],
    ]);
    expect(merged.body.status).toBe('confirmed');

    const tooMany = await stack.api.place(
      stack.tokens.john,
      orderOf([
        { sku: 'MERGE', quantity: 1 },
        { sku: 'MERGE', quantity: 1 },
      ]),
    );
    expect(tooMany.body.rejection).toEqual({
      code: 'insufficient_stock',
      items: [{ sku: 'MERGE', requested: 2, available: 0 }],
    });
  });

  test('is rejected as a whole when one sku is short, and says what there was', async () => {
    await stack.stock('SHORT-A', 5);
    await stack.stock('SHORT-B', 1);
    const { status, body } = await stack.api.place(
      stack.tokens.john,
      orderOf([
        { sku: 'SHORT-A', quantity: 2 },
        { sku: 'SHORT-B', quantity: 3 },
      ]),
    );
    expect(status).toBe(201);
    expect(body.status).toBe('rejected');
    expect(body.rejection).toEqual({
      code: 'insufficient_stock',
      items: [{ sku: 'SHORT-B', requested: 3, available: 1 }],
    });
    expect(await stockOf('SHORT-A')).toMatchObject({ reserved: 0, available: 5 });
    expect(await stockOf('SHORT-B')).toMatchObject({ reserved: 0, available: 1 });

    const result = await stack.temporal.workflow.getHandle(body.workflowId).result();
    expect(result).toEqual({
      orderId: body.id,
      status: 'rejected',
      paymentStatus: 'none',
      reason: 'insufficient_stock',
    });
    const mails = await eventually('the mail', async () => {
      const found = await stack.mailsAbout(body.number);
      return found.length > 0 && found;
    });
    expect(mails[0]!.subject).toContain('could not take');
    const cancelled = await stack.api.request('POST', `/v1/orders/${body.id}/cancel`, {
      token: stack.tokens.john,
    });
    expect(cancelled).toMatchObject({ status: 409, body: { code: 'invalid_transition' } });
  });

  test('of a product without stock is rejected, not an error', async () => {
    await stack.db
      .insertInto('catalogue.products')
      .values({ sku: 'NO-STOCK', name: 'No stock', price: 1, currency: 'USD' })
      .execute();
    const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'NO-STOCK', quantity: 1 }]));
    expect(body.rejection).toEqual({
      code: 'insufficient_stock',
      items: [{ sku: 'NO-STOCK', requested: 1, available: 0 }],
    });
  });

  test('answers 202 at once when asked to, and a GET right after finds the order', async () => {
    const placed = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'DOCK-USBC', quantity: 1 }]), {
      prefer: 'respond-async',
    });
    expect(placed.status).toBe(202);
    expect(placed.body.status).toBe('pending');
    const read = await stack.api.request('GET', placed.headers.get('location')!, {
      token: stack.tokens.john,
    });
    expect(read.status).toBe(200);
    expect(read.body.number).toBe(placed.body.number);
    await eventually('the order is confirmed', async () => {
      const { body } = await stack.api.request('GET', `/v1/orders/${placed.body.id}`, {
        token: stack.tokens.john,
      });
      return body.status === 'confirmed';
    });
  });

  test('staff orders for a named customer; a customer for itself only', async () => {
    const lines = [{ sku: 'CHARGER-65', quantity: 1 }];
    const forJane = await stack.api.place(stack.tokens.staff, orderOf(lines, { customerId: JANE }));
    expect(forJane.body).toMatchObject({ customerId: JANE, status: 'confirmed' });
    const unnamed = await stack.api.place(stack.tokens.staff, orderOf(lines));
    expect(unnamed).toMatchObject({ status: 422, body: { errors: [{ pointer: '/customerId' }] } });
    const unknown = await stack.api.place(stack.tokens.staff, orderOf(lines, { customerId: randomUUID() }));
    expect(unknown).toMatchObject({ status: 422, body: { errors: [{ pointer: '/customerId' }] } });
    const other = await stack.api.place(stack.tokens.john, orderOf(lines, { customerId: JANE }));
    expect(other).toMatchObject({ status: 403, body: { code: 'forbidden' } });
  });

  test('at another total than expected is refused with the new one, and consumes no key', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const lines = [{ sku: 'MOUSE-WL', quantity: 2 }];
    const wrong = await stack.api.place(stack.tokens.john, orderOf(lines, { expectedTotal: 1 }), key);
    expect(wrong).toMatchObject({ status: 409, body: { code: 'price_changed', total: 5998 } });
    const right = await stack.api.place(stack.tokens.john, orderOf(lines, { expectedTotal: 5998 }), key);
    expect(right).toMatchObject({ status: 201, body: { total: 5998 } });
  });

  test('keeps the price and name it was placed with', async () => {
    await stack.stock('REPRICED', 5, 500);
    const placed = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'REPRICED', quantity: 1 }]));
    await stack.db
      .updateTable('catalogue.products')
      .set({ price: 900, name: 'New name' })
      .where('sku', '=', 'REPRICED')
      .execute();
    const { body } = await stack.api.request('GET', `/v1/orders/${placed.body.id}`, {
      token: stack.tokens.john,
    });
    expect(body.lines[0]).toMatchObject({ unitPrice: 500, name: 'Product REPRICED' });
  });

  test('of products in two currencies is refused', async () => {
    await stack.stock('IN-USD', 5);
    await stack.stock('IN-EUR', 5);
    await stack.db
      .updateTable('catalogue.products')
      .set({ currency: 'EUR' })
      .where('sku', '=', 'IN-EUR')
      .execute();
    const refused = await stack.api.place(
      stack.tokens.john,
      orderOf([
        { sku: 'IN-USD', quantity: 1 },
        { sku: 'IN-EUR', quantity: 1 },
      ]),
    );
    expect(refused).toMatchObject({ status: 422, body: { errors: [{ pointer: '/lines/1/sku' }] } });
  });
});

describe('one Idempotency-Key', () => {
  test('sent again gives the same order and no second effect', async () => {
    await stack.stock('TWICE', 5);
    const key = { 'idempotency-key': 'the same key' };
    const body = orderOf([{ sku: 'TWICE', quantity: 1 }]);
    const first = await stack.api.place(stack.tokens.john, body, key);
    const again = await stack.api.place(stack.tokens.john, body, key);
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.body).toEqual(first.body);
    expect(await stockOf('TWICE')).toMatchObject({ reserved: 1 });
  });

  test('sent again after the order was cancelled gives the order as it is now', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const body = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]);
    const first = await stack.api.place(stack.tokens.john, body, key);
    await stack.api.request('DELETE', `/v1/orders/${first.body.id}`, { token: stack.tokens.john });
    const { body: cancelled } = await eventually('the money is given free', async () => {
      const read = await stack.api.request('GET', `/v1/orders/${first.body.id}`, {
        token: stack.tokens.john,
      });
      return read.body.paymentStatus === 'voided' && read;
    });
    const again = await stack.api.place(stack.tokens.john, body, key);
    expect(again).toMatchObject({ status: 201, body: { status: 'cancelled', version: 3 } });
    expect(again.body).toEqual(cancelled);
  });

  test('with another body is refused', async () => {
    const key = { 'idempotency-key': randomUUID() };
    await stack.api.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]), key);
    const other = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 2 }]), key);
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
  });

  test('is compared as JSON, whatever the order of fields and the spaces', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const body = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]);
    const first = await stack.api.place(stack.tokens.john, body, key);
    const reordered = Object.fromEntries(Object.entries(body).toReversed());
    const again = await stack.api.request('POST', '/v1/orders', {
      token: stack.tokens.john,
      raw: JSON.stringify(reordered, null, 4),
      headers: key,
    });
    expect(again).toMatchObject({ status: 201, body: { id: first.body.id } });
  });

  test('of another caller is another key', async () => {
    const key = { 'idempotency-key': 'everybody uses 1' };
    const body = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]);
    const johns = await stack.api.place(stack.tokens.john, body, key);
    const janes = await stack.api.place(stack.tokens.jane, body, key);
    expect(janes.status).toBe(201);
    expect(janes.body.id).not.toBe(johns.body.id);
  });

  test('sent 20 times at once makes one order, one workflow, one reservation, one mail', async () => {
    await stack.stock('DOUBLE-CLICK', 100);
    const key = { 'idempotency-key': randomUUID() };
    const body = orderOf([{ sku: 'DOUBLE-CLICK', quantity: 1 }]);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => stack.api.place(stack.tokens.john, body, key)),
    );
    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([201]));
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(answers.filter((answer) => answer.headers.get('idempotent-replayed') === null)).toHaveLength(1);
    expect(await stockOf('DOUBLE-CLICK')).toMatchObject({ reserved: 1 });
    const { number, id } = answers[0]!.body;
    await eventually('mail and push are noted', async () => {
      const events = await eventsOf(id);
      return events.filter((type) => type === 'notification.sent').length === 2;
    });
    expect(await stack.mailsAbout(number)).toHaveLength(1);
    const runs = [];
    for await (const run of stack.temporal.workflow.list({ query: `WorkflowId = "order-${id}"` }))
      runs.push(run);
    expect(runs.length).toBeLessThanOrEqual(1);
  });
});

describe('buyers who race', () => {
  test('50 of them for 10 units: exactly 10 get one', async () => {
    await stack.stock('RACE', 10);
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, buyer) =>
        stack.api.place(
          buyer % 2 ? stack.tokens.john : stack.tokens.jane,
          orderOf([{ sku: 'RACE', quantity: 1 }]),
          {
            prefer: 'wait=30',
          },
        ),
      ),
    );
    const outcomes = answers.map((answer) => answer.body.status);
    expect(outcomes.filter((status) => status === 'confirmed')).toHaveLength(10);
    expect(outcomes.filter((status) => status === 'rejected')).toHaveLength(40);
    expect(await stockOf('RACE')).toMatchObject({ onHand: 10, reserved: 10, available: 0 });
  });

  test('baskets AB and BA: none fails, nothing is lost', async () => {
    await stack.stock('BASKET-A', 100);
    await stack.stock('BASKET-B', 100);
    const a = { sku: 'BASKET-A', quantity: 1 };
    const b = { sku: 'BASKET-B', quantity: 1 };
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        stack.api.place(stack.tokens.john, orderOf(index % 2 ? [a, b] : [b, a]), { prefer: 'wait=30' }),
      ),
    );
    expect(answers.map((answer) => answer.body.status)).toEqual(answers.map(() => 'confirmed'));
    expect(await stockOf('BASKET-A')).toMatchObject({ reserved: 40 });
    expect(await stockOf('BASKET-B')).toMatchObject({ reserved: 40 });
  });

  test('cancelling against ordering keeps the stock right', async () => {
    await stack.stock('CHURN', 3);
    const lines = orderOf([{ sku: 'CHURN', quantity: 1 }]);
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const placed = await stack.api.place(stack.tokens.john, lines, { prefer: 'wait=30' });
        expect([201, 202]).toContain(placed.status);
        const order = (method: string) =>
          stack.api.request(method, `/v1/orders/${placed.body.id}`, { token: stack.tokens.john });
        const status = await eventually('the order is settled', async () => {
          const { body } = await order('GET');
          return body.status !== 'pending' && body.status;
        });
        if (status === 'confirmed') expect([200, 202]).toContain((await order('DELETE')).status);
      }),
    );
    await eventually('nothing is reserved', async () => (await stockOf('CHURN')).reserved === 0);
    expect(await stockOf('CHURN')).toMatchObject({ onHand: 3, reserved: 0 });
  });
});

describe('listing orders', () => {
  test('newest first, page by page, each once', async () => {
    const lines = orderOf([{ sku: 'WEBCAM-4K', quantity: 1 }]);
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1)
      ids.unshift((await stack.api.place(stack.tokens.jane, lines)).body.id);

    const seen: string[] = [];
    let path: string | undefined = '/v1/orders?sku=WEBCAM-4K&limit=2';
    while (path) {
      const page: Answer = await stack.api.request('GET', path, {
        token: stack.tokens.jane,
      });
      seen.push(...page.body.data.map((order: { id: string }) => order.id));
      const link = page.headers.get('link');
      expect(link === null).toBe(page.body.nextCursor === null);
      path = link?.match(/<([^>]+)>; rel="next"/)?.[1];
    }
    expect(seen).toEqual(ids);
  });

  test('by status, sku, customer, time and text', async () => {
    await stack.stock('FILTERED', 1);
    const lines = orderOf([{ sku: 'FILTERED', quantity: 1 }]);
    const before = new Date().toISOString();
    const confirmed = (await stack.api.place(stack.tokens.jane, lines)).body;
    const rejected = (await stack.api.place(stack.tokens.john, lines)).body;
    const list = async (query: string, token = stack.tokens.staff) => {
      const { body } = await stack.api.request('GET', `/v1/orders?sku=FILTERED&${query}`, { token });
      return body.data.map((order: { id: string }) => order.id);
    };
    expect(await list('status=confirmed')).toEqual([confirmed.id]);
    expect(await list('status=rejected')).toEqual([rejected.id]);
    expect(await list(`customerId=${JANE}`)).toEqual([confirmed.id]);
    expect(await list(`createdFrom=${before}`)).toEqual([rejected.id, confirmed.id]);
    expect(await list(`createdTo=${before}`)).toEqual([]);
    expect(await list(`q=${confirmed.number.slice(0, 7).toLowerCase()}`)).toEqual([confirmed.id]);
    expect(await list('q=jane')).toEqual([confirmed.id]);
    expect(await list('q=%25')).toEqual([]);
    expect(await list('', stack.tokens.john)).toEqual([rejected.id]);
  });
});

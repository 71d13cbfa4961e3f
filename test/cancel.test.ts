import { randomUUID } from 'node:crypto';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { takeStep } from '../db/order-steps.ts';
import { cancel as decideToCancel } from '../domain/cancelling.ts';
import type { Order } from '../domain/order.ts';
import { type Answer, orderOf } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});

const sku = 'LAPTOP-13';
const place = async (): Promise<Order> =>
  (await stack.api.place(stack.tokens.john, orderOf([{ sku, quantity: 2 }]))).body;

const temporalCli = async (...args: string[]): Promise<string> => {
  const { stdout } = await promisify(execFile)(stack.parts.temporalCli, [
    ...args,
    '--address',
    stack.parts.temporalAddress,
    '--namespace',
    'cancel',
  ]);
  return stdout;
};

/** Every way to cancel an order, as its users do it. */
const doors: Record<string, (order: Order) => Promise<unknown>> = {
  'POST /cancel': ({ id }) =>
    stack.api.request('POST', `/v1/orders/${id}/cancel`, {
      token: stack.tokens.john,
      body: { reason: 'by post' },
    }),
  DELETE: ({ id }) => stack.api.request('DELETE', `/v1/orders/${id}`, { token: stack.tokens.john }),
  'temporal workflow signal': ({ workflowId }) =>
    temporalCli(
      'workflow',
      'signal',
      '-w',
      workflowId,
      '--name',
      'cancel',
      '--input',
      '{"reason":"by signal"}',
    ),
  'temporal workflow signal without input': ({ workflowId }) =>
    temporalCli('workflow', 'signal', '-w', workflowId, '--name', 'cancel'),
  'temporal workflow update execute': ({ workflowId }) =>
    temporalCli(
      'workflow',
      'update',
      'execute',
      '-w',
      workflowId,
      '--name',
      'cancel',
      '--input',
      '{"reason":"upd"}',
    ),
  'temporal workflow cancel': ({ workflowId }) => temporalCli('workflow', 'cancel', '-w', workflowId),
};

const read = async ({ id }: Order): Promise<Order> =>
  (await stack.api.request('GET', `/v1/orders/${id}`, { token: stack.tokens.john })).body;

interface Event {
  seq: number;
  type: string;
  data: Record<string, unknown>;
}

const eventsOf = async ({ id }: Order): Promise<Event[]> =>
  (await stack.api.request('GET', `/v1/orders/${id}/events`, { token: stack.tokens.john })).body.data;

const movementsOf = ({ id }: Order) =>
  stack.db
    .selectFrom('inventory.movements')
    .select(['type', 'quantity'])
    .where('order_id', '=', id)
    .orderBy('id')
    .execute();

/** Once and completely: row, lines, stock, money, timeline, mail and workflow. */
async function expectCancelledOnce(order: Order): Promise<Order> {
  const result = await stack.temporal.workflow.getHandle(order.workflowId).result();
  expect(result).toMatchObject({ orderId: order.id, status: 'cancelled' });
  const description = await stack.temporal.workflow.getHandle(order.workflowId).describe();
  expect(description.status.name).toBe('COMPLETED');
  expect(description.typedSearchAttributes.getAll().map(({ value }) => value)).toContain('cancelled');

  const events = await eventually('the cancellation was told', async () => {
    const all = await eventsOf(order);
    return all.some(({ data }) => data.template === 'order-cancelled') && all;
  });
  const types = events.map(({ type }) => type);
  expect(types.filter((type) => type === 'order.cancelled')).toHaveLength(1);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const taken = types.filter((type) => type === 'stock.reserved').length;
  expect(types.filter((type) => type === 'stock.released')).toHaveLength(taken);

  const quantity = order.lines[0]!.quantity;
  expect(await movementsOf(order)).toEqual(
    taken > 0
      ? [
          { type: 'reservation', quantity },
          { type: 'release', quantity },
        ]
      : [],
  );
  const mails = await stack.mailsAbout(order.number);
  expect(mails.filter((mail) => mail.subject.includes('is cancelled'))).toHaveLength(1);

  expect(types.filter((type) => type === 'payment.voided')).toHaveLength(taken);
  const paymentStatus = taken > 0 ? 'voided' : 'none';
  expect(result).toMatchObject({ paymentStatus });
  const cancelled = await read(order);
  expect(cancelled).toMatchObject({
    status: 'cancelled',
    paymentStatus,
    lines: [{ cancelledQuantity: quantity, shippedQuantity: 0 }],
  });
  return cancelled;
}

describe('through one door', () => {
  test.each(Object.keys(doors))('%s', async (door) => {
    const order = await place();
    expect(order.status).toBe('confirmed');
    await doors[door]!(order);
    await expectCancelledOnce(order);
  });

  test('HTTP answers with the cancelled order, who did it and why; again is no error', async () => {
    const order = await place();
    const cancelled = await stack.api.request<Order>('POST', `/v1/orders/${order.id}/cancel`, {
      token: stack.tokens.john,
      body: { reason: 'changed my mind' },
    });
    expect(cancelled.status).toBe(200);
    expect(cancelled.headers.get('etag')).toBe(`"${cancelled.body.version}"`);
    expect(cancelled.body).toMatchObject({
      status: 'cancelled',
      cancellation: { reason: 'changed my mind', by: `customer:${order.customerId}` },
    });
    // The cancellation is one version on, the void of its payment another.
    const settled = await expectCancelledOnce(order);
    expect(settled).toMatchObject({ version: 3, cancellation: cancelled.body.cancellation });
    const again = await stack.api.request('POST', `/v1/orders/${order.id}/cancel`, {
      token: stack.tokens.staff,
    });
    expect(again.status).toBe(200);
    expect(again.body).toEqual(settled);
  });

  test('If-Match: a stale version is refused inside the transaction, the right one cancels', async () => {
    const order = await place();
    const cancel = (etag: string) =>
      stack.api.request('POST', `/v1/orders/${order.id}/cancel`, {
        token: stack.tokens.john,
        headers: { 'if-match': etag },
      });
    expect(await cancel('"7"')).toMatchObject({ status: 412, body: { code: 'version_conflict' } });
    expect(await cancel('W/"1"')).toMatchObject({ status: 412 });
    expect(await cancel('1')).toMatchObject({ status: 400, body: { code: 'invalid_header' } });
    expect(await cancel('"1"')).toMatchObject({ status: 200, body: { status: 'cancelled' } });
  });

  test('an Idempotency-Key replays, and refuses another body', async () => {
    const order = await place();
    const cancel = (reason: string) =>
      stack.api.request('POST', `/v1/orders/${order.id}/cancel`, {
        token: stack.tokens.john,
        body: { reason },
        headers: { 'idempotency-key': 'cancel once' },
      });
    expect((await cancel('one')).headers.get('idempotent-replayed')).toBeNull();
    const again = await cancel('one');
    expect(again.status).toBe(200);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(await cancel('two')).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
  });
});

describe('through many doors', () => {
  test('all of them at once, twice', async () => {
    const order = await place();
    const all = Object.values(doors);
    await Promise.allSettled([...all, ...all].map((open) => open(order)));
    await expectCancelledOnce(order);
  });

  test('at the very moment the order is placed', async () => {
    const orders = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku, quantity: 1 }]), {
          prefer: 'respond-async',
        });
        await Promise.allSettled([
          stack.temporal.workflow.getHandle(body.workflowId).cancel(),
          stack.api.request('DELETE', `/v1/orders/${body.id}`, { token: stack.tokens.john }),
        ]);
        return body;
      }),
    );
    for (const order of orders) await expectCancelledOnce(order);
  });
});

describe('signals nobody can read', () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const unreadable = {
    'broken JSON': { metadata: { encoding: encode('json/plain') }, data: encode('{"reason": ') },
    'an encoding nobody knows': { metadata: { encoding: encode('binary/encrypted') }, data: encode('???') },
    'no encoding at all': { data: encode('x') },
    'a number': { metadata: { encoding: encode('json/plain') }, data: encode('42') },
    'text no database takes': {
      metadata: { encoding: encode('json/plain') },
      data: encode('{"reason": "nul \\u0000 and half \\ud83d a pair", "by": ["x"], "expectedVersion": "7"}'),
    },
  };
  test.each(Object.keys(unreadable) as (keyof typeof unreadable)[])('%s still cancels', async (kind) => {
    const order = await place();
    await stack.temporal.workflowService.signalWorkflowExecution({
      namespace: 'cancel',
      workflowExecution: { workflowId: order.workflowId },
      signalName: 'cancel',
      input: { payloads: [unreadable[kind]] },
    });
    await expectCancelledOnce(order);
  });

  test('an unknown signal changes nothing', async () => {
    const order = await place();
    await stack.temporal.workflow.getHandle(order.workflowId).signal('explode', { now: true });
    const { body } = await stack.api.request('GET', `/v1/orders/${order.id}`, { token: stack.tokens.john });
    expect(body.status).toBe('confirmed');
  });

  test('an update after the end is refused, and the state stays', async () => {
    const order = await place();
    await doors.DELETE!(order);
    await stack.temporal.workflow.getHandle(order.workflowId).result();
    await expect(doors['temporal workflow update execute']!(order)).rejects.toThrow('Command failed');
    await expectCancelledOnce(order);
  });
});

describe('single units', () => {
  const placeTwoLines = async (): Promise<Order> => {
    const lines = [
      { sku, quantity: 3 },
      { sku: 'MOUSE-WL', quantity: 2 },
    ];
    return (await stack.api.place(stack.tokens.john, orderOf(lines))).body;
  };
  const units = (order: Order, ...quantities: number[]) =>
    quantities
      .map((quantity, index) => ({ lineId: order.lines[index]!.id, quantity }))
      .filter(({ quantity }) => quantity > 0);
  const cancel = (
    order: Order,
    lines: unknown,
    { reason, ...headers }: Record<string, string> = {},
  ): Promise<Answer> =>
    stack.api.request('POST', `/v1/orders/${order.id}/cancel`, {
      token: stack.tokens.john,
      body: { lines, ...(reason !== undefined && { reason }) },
      headers,
    });
  const cancelledUnits = ({ lines }: Order) => lines.map(({ cancelledQuantity }) => cancelledQuantity);

  test('are released and told, the rest stays; cancelling the rest releases that once', async () => {
    const order = await placeTwoLines();
    const partly = await cancel(order, units(order, 1, 2), { reason: 'too many' });
    expect(partly).toMatchObject({
      status: 200,
      body: { status: 'confirmed', paymentStatus: 'authorized', version: 2 },
    });
    expect(partly.headers.get('etag')).toBe('"2"');
    expect(partly.body).not.toHaveProperty('cancellation');
    expect(cancelledUnits(partly.body)).toEqual([1, 2]);
    expect(await movementsOf(order)).toEqual([
      { type: 'reservation', quantity: 3 },
      { type: 'reservation', quantity: 2 },
      { type: 'release', quantity: 1 },
      { type: 'release', quantity: 2 },
    ]);
    expect((await eventsOf(order)).find(({ type }) => type === 'order.cancelled')).toMatchObject({
      data: {
        reason: 'too many',
        items: [
          { sku, quantity: 1 },
          { sku: 'MOUSE-WL', quantity: 2 },
        ],
      },
    });

    await doors.DELETE!(order);
    const result = await stack.temporal.workflow.getHandle(order.workflowId).result();
    expect(result).toMatchObject({ status: 'cancelled', paymentStatus: 'voided' });
    const cancelled = await read(order);
    expect(cancelled).toMatchObject({ status: 'cancelled', cancellation: { reason: null } });
    expect(cancelledUnits(cancelled)).toEqual([3, 2]);
    expect((await movementsOf(order)).slice(4)).toEqual([{ type: 'release', quantity: 2 }]);
    const mails = await eventually('both cancellations are told', async () => {
      const subjects = (await stack.mailsAbout(order.number)).map(({ subject }) => subject);
      return subjects.length === 3 && subjects;
    });
    expect(mails).toEqual(
      expect.arrayContaining([
        `A part of your order ${order.number} is cancelled`,
        `Your order ${order.number} is cancelled`,
      ]),
    );
  });

  test('until none is left: then the order is cancelled', async () => {
    const order = await placeTwoLines();
    expect((await cancel(order, units(order, 3))).body).toMatchObject({ status: 'confirmed' });
    const last = await cancel(order, units(order, 0, 2), { reason: 'not that either' });
    expect(last).toMatchObject({
      status: 200,
      body: { status: 'cancelled', cancellation: { reason: 'not that either' } },
    });
    expect(await stack.temporal.workflow.getHandle(order.workflowId).result()).toMatchObject({
      status: 'cancelled',
      paymentStatus: 'voided',
    });
    expectProblem(await cancel(order, units(order, 1)), 409, 'invalid_transition');
    expect((await doors.DELETE!(order)) as Answer).toMatchObject({ status: 200 });
  });

  test('by Temporal, as an update and as a signal', async () => {
    const order = await placeTwoLines();
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    await temporalCli(
      ...'workflow update execute --name cancel -w'.split(' '),
      order.workflowId,
      '--input',
      JSON.stringify({ lines: units(order, 1), reason: 'by update' }),
    );
    expect(cancelledUnits(await read(order))).toEqual([1, 0]);
    await handle.signal('cancel', { lines: units(order, 0, 1), reason: 'by signal' });
    await eventually('the signal has its effect', async () => cancelledUnits(await read(order))[1] === 1);
    expect(await read(order)).toMatchObject({ status: 'confirmed', version: 3 });
    expect(await handle.query('status')).toMatchObject({ status: 'confirmed' });
  });

  test('sent ten times at once with one Idempotency-Key are cancelled once', async () => {
    const order = await placeTwoLines();
    const once = (quantities: number[], key: string) =>
      Promise.all(
        Array.from({ length: 10 }, () =>
          cancel(order, units(order, ...quantities), { 'idempotency-key': key }),
        ),
      );
    for (const answer of await once([2], 'two of three')) {
      expect(answer).toMatchObject({ status: 200, body: { status: 'confirmed', version: 2 } });
      expect(cancelledUnits(answer.body)).toEqual([2, 0]);
    }
    const again = await cancel(order, units(order, 2), { 'idempotency-key': 'two of three' });
    expect(again.status).toBe(200);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    const other = await cancel(order, units(order, 1), { 'idempotency-key': 'two of three' });
    expectProblem(other, 422, 'idempotency_key_reused');
    expect(cancelledUnits(await read(order))).toEqual([2, 0]);

    for (const answer of await once([1, 2], 'all the rest'))
      expect(answer).toMatchObject({ status: 200, body: { status: 'cancelled' } });
    expect(cancelledUnits(await read(order))).toEqual([3, 2]);
    expect((await eventsOf(order)).filter(({ type }) => type === 'order.cancelled')).toHaveLength(2);
  });

  test('sent again as updates with one commandId are cancelled once', async () => {
    const order = await placeTwoLines();
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    const args: [object] = [{ lines: units(order, 2), commandId: randomUUID() }];
    for (let time = 0; time < 3; time += 1) await handle.executeUpdate('cancel', { args });
    expect(cancelledUnits(await read(order))).toEqual([2, 0]);
  });

  test('by ten buyers at once, one each of three: three get it, the others hear that none is left', async () => {
    const order = await placeTwoLines();
    const answers = await Promise.all(Array.from({ length: 10 }, () => cancel(order, units(order, 1))));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(3);
    for (const answer of answers.filter(({ status }) => status !== 200)) {
      expectProblem(answer, 409, 'not_enough_units');
      expect(answer.body).toMatchObject({ currentStatus: 'confirmed', left: 0 });
    }
    expect(cancelledUnits(await read(order))).toEqual([3, 0]);
  });

  test('against cancelling the whole: each unit is released once', async () => {
    const orders = await Promise.all(Array.from({ length: 6 }, placeTwoLines));
    await Promise.all(
      orders.map(async (order) => {
        const [partly, whole] = await Promise.all([
          cancel(order, units(order, 2)),
          stack.api.request('DELETE', `/v1/orders/${order.id}`, { token: stack.tokens.john }),
        ]);
        expect([200, 409]).toContain(partly.status);
        expect(whole).toMatchObject({ status: 200, body: { status: 'cancelled' } });
        expect(cancelledUnits(await read(order))).toEqual([3, 2]);
      }),
    );
  });

  test('at a version that is not the current one any more are not cancelled: 412', async () => {
    const order = await placeTwoLines();
    expectProblem(await cancel(order, units(order, 1), { 'if-match': '"0"' }), 412, 'version_conflict');
    expect(await cancel(order, units(order, 1), { 'if-match': '"1"' })).toMatchObject({ status: 200 });
    expectProblem(await cancel(order, units(order, 1), { 'if-match': '"1"' }), 412, 'version_conflict');
    expect(cancelledUnits(await read(order))).toEqual([1, 0]);
  });

  test('that are not the order’s, or more than there are, are refused, and nothing changes', async () => {
    const order = await placeTwoLines();
    const other = await place();
    const [line] = units(order, 1);
    const tooMany = [units(order, 4), units(order, 1, 3), [{ ...line, quantity: 2 }, line, line]];
    for (const lines of tooMany) expectProblem(await cancel(order, lines), 409, 'not_enough_units');
    for (const lineId of [randomUUID(), other.lines[0]!.id]) {
      const refused = await cancel(order, [{ lineId, quantity: 1 }]);
      expectProblem(refused, 422, 'validation_failed', '/lines/0/lineId');
    }
    const second = await cancel(order, [line, { lineId: randomUUID(), quantity: 1 }]);
    expectProblem(second, 422, 'validation_failed', '/lines/1/lineId');
    expect(await read(order)).toEqual(order);
  });

  const garbage: [string, object][] = [
    ['lines that are no list', { lines: 'all of them' }],
    ['an empty list', { lines: [] }],
    ['a line without its id', { lines: [{ quantity: 1 }] }],
    ['a line that is not the order’s', { lines: [{ lineId: randomUUID(), quantity: 1 }] }],
    ['a quantity as text', { lines: [{ lineId: randomUUID(), quantity: '1' }] }],
    ['lines of null', { lines: null }],
    ['a commandId that is none', { lines: [{ lineId: randomUUID(), quantity: 1 }], commandId: 'mine' }],
  ];
  test.each(garbage)('%s: an update is refused, a signal changes nothing', async (_what, input) => {
    const order = await place();
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    await expect(handle.executeUpdate('cancel', { args: [input] })).rejects.toMatchObject({
      cause: { type: 'validation_failed' },
    });
    await handle.signal('cancel', input);
    expect(await handle.query('status')).toMatchObject({ status: 'confirmed' });
    expect(await read(order)).toEqual(order);
    await handle.signal('cancel', { reason: 'enough' });
    await expectCancelledOnce(order);
  });
});

describe('what may not be cancelled', () => {
  test('If-Match with respond-async: a stale version is told at once', async () => {
    const order = await place();
    const stale = await stack.api.request('DELETE', `/v1/orders/${order.id}`, {
      token: stack.tokens.john,
      headers: { 'if-match': '"9"', prefer: 'respond-async' },
    });
    expect(stale).toMatchObject({ status: 412, body: { code: 'version_conflict' } });
  });
});

describe('cancellations that race', () => {
  test('agree on one reason, in the row, the result and the workflow', async () => {
    const order = await place();
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    await Promise.allSettled(['one', 'two', 'three'].map((reason) => handle.signal('cancel', { reason })));
    const { reason } = await handle.result();
    const cancelled = await expectCancelledOnce(order);
    expect(cancelled.cancellation).toMatchObject({ reason });
    const { events } = await handle.fetchHistory();
    const children = events?.filter((event) => event.startChildWorkflowExecutionInitiatedEventAttributes);
    expect(children).toEqual([]);
  });
});

describe('a workflow that was terminated', () => {
  test('can still be cancelled over HTTP: it goes on from its row', async () => {
    const order = await place();
    await stack.temporal.workflow.getHandle(order.workflowId).terminate('by a test');
    const cancelled = await stack.api.request('DELETE', `/v1/orders/${order.id}`, {
      token: stack.tokens.john,
    });
    expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
    await expectCancelledOnce(order);
    const { body } = await stack.api.request('GET', `/v1/orders/${order.id}/events`, {
      token: stack.tokens.john,
    });
    expect(body.data.map((event: { type: string }) => event.type)).toContain('workflow.restarted');
  });
});

describe('a workflow that has missed a cancellation', () => {
  test('hears of it when it is asked for something else, and gives the money free before it ends', async () => {
    const order = await place();
    const at = new Date().toISOString();
    // As the API does while Temporal is away.
    await takeStep(stack.db, order.id, (record) =>
      decideToCancel(record, { reason: 'unheard', by: 'test', at }),
    );
    const shipped = await stack.api.request('POST', `/v1/orders/${order.id}/shipments`, {
      token: stack.tokens.staff,
      body: { carrier: 'UPS' },
    });
    expectProblem(shipped, 409, 'invalid_transition');
    expect(await stack.temporal.workflow.getHandle(order.workflowId).result()).toMatchObject({
      status: 'cancelled',
      paymentStatus: 'voided',
      reason: 'unheard',
    });
  });
});

describe('a stranger who starts the workflow by hand', () => {
  test('gets a clear failure, and no order', async () => {
    const handle = await stack.temporal.workflow.start('order', {
      taskQueue: 'orders',
      workflowId: `order-${randomUUID()}`,
      args: [{ hello: 'world' }],
    });
    await expect(handle.result()).rejects.toMatchObject({ cause: { type: 'validation_failed' } });
  });
});

import { randomUUID } from 'node:crypto';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Order } from '../domain/order.ts';
import { orderOf } from './harness/http.ts';
import { expectStockAddsUp } from './harness/invariants.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
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

/** Once and completely: row, lines, stock, timeline, mail and workflow. */
async function expectCancelledOnce(order: Order): Promise<Order> {
  const result = await stack.temporal.workflow.getHandle(order.workflowId).result();
  expect(result).toMatchObject({ orderId: order.id, status: 'cancelled', paymentStatus: 'none' });
  const description = await stack.temporal.workflow.getHandle(order.workflowId).describe();
  expect(description.status.name).toBe('COMPLETED');
  expect(description.typedSearchAttributes.getAll().map(({ value }) => value)).toContain('cancelled');

  const events = await eventually('the cancellation was told', async () => {
    const { body } = await stack.api.request('GET', `/v1/orders/${order.id}/events`, {
      token: stack.tokens.john,
    });
    const told = body.data.filter(
      (event: { data: { template?: string } }) => event.data.template === 'order-cancelled',
    );
    return told.length > 0 && (body.data as { type: string; seq: number }[]);
  });
  const types = events.map(({ type }) => type);
  expect(types.filter((type) => type === 'order.cancelled')).toHaveLength(1);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const taken = types.filter((type) => type === 'stock.reserved').length;
  expect(types.filter((type) => type === 'stock.released')).toHaveLength(taken);

  const movements = await stack.db
    .selectFrom('inventory.movements')
    .select(['type', 'quantity'])
    .where('order_id', '=', order.id)
    .orderBy('id')
    .execute();
  const quantity = order.lines[0]!.quantity;
  expect(movements).toEqual(
    taken > 0
      ? [
          { type: 'reservation', quantity },
          { type: 'release', quantity },
        ]
      : [],
  );
  const mails = await stack.mailsAbout(order.number);
  expect(mails.filter((mail) => mail.subject.includes('is cancelled'))).toHaveLength(1);

  const { body } = await stack.api.request('GET', `/v1/orders/${order.id}`, { token: stack.tokens.john });
  expect(body).toMatchObject({ status: 'cancelled', lines: [{ cancelledQuantity: quantity }] });
  return body;
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
    expect(cancelled.headers.get('etag')).toBe('"2"');
    expect(cancelled.body).toMatchObject({
      status: 'cancelled',
      version: 2,
      cancellation: { reason: 'changed my mind', by: `customer:${order.customerId}` },
    });
    const again = await stack.api.request('POST', `/v1/orders/${order.id}/cancel`, {
      token: stack.tokens.staff,
    });
    expect(again.status).toBe(200);
    expect(again.body).toEqual(cancelled.body);
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
    await expect(doors['temporal workflow update execute']!(order)).rejects.toThrow('Command failed');
    await expectCancelledOnce(order);
  });
});

describe('what may not be cancelled', () => {
  test('single units, which would cancel all: refused by HTTP and update, ignored as a signal', async () => {
    const order = await place();
    const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    await expect(handle.executeUpdate('cancel', { args: [{ lines }] })).rejects.toMatchObject({
      cause: { type: 'validation_failed' },
    });
    await handle.signal('cancel', { lines });
    expect(await handle.query('status')).toMatchObject({ status: 'confirmed' });
  });

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

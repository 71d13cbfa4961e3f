import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Order } from '../domain/order.ts';
import { type Api, orderOf } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

/** The API runs, and nobody polls the task queue, until the tests start a worker. */
let stack: TestStack;
let api: Api;
let token: string;
beforeAll(async () => {
  stack = await startStack({ api: false });
  api = (await stack.startApi({ API_WORKER: 'false' })).api;
  token = await api.login('john.smith@example.com');
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});

const read = async (id: string): Promise<Order> =>
  (await api.request('GET', `/v1/orders/${id}`, { token })).body;

test('orders are accepted, can be read, replayed and cancelled, and end right when a worker comes', async () => {
  await stack.stock('LATER', 10);
  const body = orderOf([{ sku: 'LATER', quantity: 2 }]);
  const place = (key: string, wanted = body) =>
    api.place(token, wanted, { 'idempotency-key': key, prefer: 'wait=1' });

  const kept = await place('kept');
  expect(kept).toMatchObject({ status: 202, body: { status: 'pending', version: 0, total: 2000 } });
  expect(await read(kept.body.id)).toEqual(kept.body);
  const events = await api.request('GET', `/v1/orders/${kept.body.id}/events`, { token });
  expect(events).toMatchObject({ status: 200, body: { data: [], nextCursor: null } });
  const byNumber = await eventually('the number leads to it', async () => {
    const { status, body: found } = await api.request('GET', `/v1/orders/${kept.body.number}`, { token });
    return status === 200 && found;
  });
  expect(byNumber).toEqual(kept.body);
  const stranger = await api.login('jane.doe@example.com');
  expect(await api.request('GET', `/v1/orders/${kept.body.id}`, { token: stranger })).toMatchObject({
    status: 404,
  });

  const replayed = await place('kept');
  expect(replayed.status).toBe(202);
  expect(replayed.headers.get('idempotent-replayed')).toBe('true');
  expect(replayed.body).toEqual(kept.body);
  expect(await place('kept', orderOf([{ sku: 'LATER', quantity: 3 }]))).toMatchObject({
    status: 422,
    body: { code: 'idempotency_key_reused' },
  });
  await stack.db
    .updateTable('catalogue.products')
    .set({ active: false })
    .where('sku', '=', 'LATER')
    .execute();
  expect(await place('kept')).toMatchObject({ status: 202, body: { id: kept.body.id } });
  await stack.db.updateTable('catalogue.products').set({ active: true }).where('sku', '=', 'LATER').execute();

  const [byHttp, bySignal, byCancel] = await Promise.all(
    ['by http', 'by signal', 'by cancel'].map(async (key) => (await place(key)).body),
  );
  const handleOf = (order: Order | undefined) => stack.temporal.workflow.getHandle(order!.workflowId);
  const [cancelled] = await Promise.all([
    api.request('POST', `/v1/orders/${byHttp!.id}/cancel`, {
      token,
      body: { reason: 'no worker' },
      headers: { prefer: 'wait=1' },
    }),
    handleOf(bySignal).signal('cancel', { reason: 'first' }),
    handleOf(byCancel).cancel(),
  ]);
  expect(cancelled).toMatchObject({ status: 202, body: { status: 'pending' } });

  // Whether it can be done nobody knows yet. Asked again with the same key it is done once.
  const cancelOne = () =>
    api.request('POST', `/v1/orders/${kept.body.id}/cancel`, {
      token,
      body: { lines: [{ lineId: kept.body.lines[0]!.id, quantity: 1 }] },
      headers: { prefer: 'wait=1', 'idempotency-key': 'one of two' },
    });
  const undecided = await cancelOne();
  expect(undecided).toMatchObject({ status: 503, body: { code: 'unavailable' } });
  expect(undecided.headers.get('retry-after')).not.toBeNull();

  const stale = await api.request('DELETE', `/v1/orders/${kept.body.id}`, {
    token,
    headers: { 'if-match': '"7"', prefer: 'respond-async' },
  });
  expect(stale).toMatchObject({ status: 412, body: { code: 'version_conflict' } });
  await handleOf(kept.body).signal('cancel', { expectedVersion: 7 });

  // Terminated before any worker saw them: asked for again, they start again.
  const [wanted, unwanted] = await Promise.all(
    ['terminated, wanted', 'terminated, unwanted'].map(async (key) => (await place(key)).body),
  );
  await Promise.all([handleOf(wanted).terminate(), handleOf(unwanted).terminate()]);
  expect(await place('terminated, wanted')).toMatchObject({ status: 202, body: { id: wanted!.id } });
  const revoked = await api.request('DELETE', `/v1/orders/${unwanted!.id}`, {
    token,
    headers: { prefer: 'wait=1' },
  });
  expect(revoked.status).toBe(202);

  await stack.startWorker();
  await eventually(
    'the terminated order is confirmed',
    async () => (await read(wanted!.id)).status === 'confirmed',
  );
  expect(await handleOf(unwanted).result()).toMatchObject({ status: 'cancelled' });
  await eventually(
    'the kept order is confirmed',
    async () => (await read(kept.body.id)).status === 'confirmed',
  );
  for (const order of [wanted!, kept.body])
    expect(await read(order.id)).toMatchObject({ paymentStatus: 'authorized' });
  expect(await cancelOne()).toMatchObject({
    status: 200,
    body: { status: 'confirmed', lines: [{ quantity: 2, cancelledQuantity: 1 }] },
  });
  for (const order of [byHttp, bySignal, byCancel]) {
    expect(await handleOf(order).result()).toMatchObject({ status: 'cancelled' });
    expect(await read(order!.id)).toMatchObject({ status: 'cancelled' });
  }
  const stock = await stack.db
    .selectFrom('inventory.stock')
    .select(['on_hand', 'reserved'])
    .where('sku', '=', 'LATER')
    .executeTakeFirstOrThrow();
  expect(stock).toEqual({ on_hand: 10, reserved: 3 });
  const mails = await eventually('the mails', async () => {
    const found = await Promise.all(
      [byHttp, bySignal, byCancel].map((order) => stack.mailsAbout(order!.number)),
    );
    return found.every((about) => about.length > 0) && found;
  });
  expect(mails.map((about) => about.map(({ subject }) => subject))).toEqual(
    [byHttp, bySignal, byCancel].map((order) => [`Your order ${order!.number} is cancelled`]),
  );
});

test('an outcome of another process is heard without waiting out the time', async () => {
  await stack.stock('ELSEWHERE', 10);
  const began = Date.now();
  const waitSeconds = 30;
  const placed = await api.place(token, orderOf([{ sku: 'ELSEWHERE', quantity: 1 }]), {
    prefer: `wait=${waitSeconds}`,
  });
  expect(placed).toMatchObject({ status: 201, body: { status: 'confirmed' } });
  expect(Date.now() - began).toBeLessThan(waitSeconds * 1000);
});

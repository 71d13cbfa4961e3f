import { randomUUID } from 'node:crypto';
import { MockActivityEnvironment } from '@temporalio/testing';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createReconcileActivities } from '../activities/reconcile.ts';
import { createOrderWorkflows } from '../client/order-workflows.ts';
import { createSideWorkflows } from '../client/side-workflows.ts';
import { mockPaymentBooks } from '../db/mock-payment-books.ts';
import { placeOrders } from '../db/placement.ts';
import { nextEnded, passEnded } from '../db/reconciliation.ts';
import type { Address, Order, PlacedOrder } from '../domain/order.ts';
import { orderOf } from './harness/http.ts';
import { expectStockAddsUp } from './harness/invariants.ts';
import { noCircuit } from './harness/no-circuit.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({ environment: { RECONCILE_INTERVAL_SECONDS: '86400' } });
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await stack.stop();
});

const sku = 'LAPTOP-13';

const place = async (token = 'tok_ok'): Promise<Order> => {
  const body = orderOf([{ sku, quantity: 2 }], { payment: { method: 'card', token } });
  return (await stack.api.place(stack.tokens.john, body)).body;
};

const read = async (path: string) =>
  (await stack.api.request('GET', path, { token: stack.tokens.staff })).body;

const acceptedAs = (
  orderId: string,
  number: string,
  customerId: string,
  shippingAddress: Address,
): PlacedOrder => ({
  orderId,
  number,
  customerId,
  placedBy: 'customer:test',
  placedAt: new Date().toISOString(),
  requestHash: 'x',
  lines: [{ id: randomUUID(), sku, name: 'Laptop', quantity: 1, unitPrice: 1000 }],
  currency: 'USD',
  total: 1000,
  shippingAddress,
  payment: { method: 'card', token: 'tok_ok' },
});

let lastRun = '';

/** Runs the Schedule once, and gives what it found. The IDs of its workflows name the second, so one a second. */
async function reconcile(): Promise<Record<string, number>> {
  const { schedule, workflow } = stack.temporal;
  const handle = schedule.getHandle('reconcile');
  const before = new Set(
    (await handle.describe()).info.recentActions.map(({ action }) => action.workflow.workflowId),
  );
  await eventually('a new second', () => new Date().toISOString().slice(0, 19) !== lastRun);
  await handle.trigger();
  lastRun = new Date().toISOString().slice(0, 19);
  const workflowId = await eventually('the schedule has run', async () => {
    const { recentActions } = (await handle.describe()).info;
    return recentActions.map(({ action }) => action.workflow.workflowId).find((id) => !before.has(id));
  });
  return (await workflow.getHandle(workflowId).result()) as Record<string, number>;
}

const types = async (order: Order): Promise<string[]> =>
  (await read(`/v1/orders/${order.id}/events`)).data.map(({ type }: { type: string }) => type);

test('with nothing wrong it finds nothing', async () => {
  const order = await place();
  expect(order.status).toBe('confirmed');
  expect(await reconcile()).toEqual({});
});

test('a terminated workflow of a live order starts again under its ID, and the order goes on', async () => {
  const order = await place();
  await stack.temporal.workflow.getHandle(order.workflowId).terminate('by a test');
  expect(await reconcile()).toEqual({ lost_workflow: 1 });
  expect((await types(order)).filter((type) => type === 'workflow.restarted')).toHaveLength(1);
  expect((await stack.temporal.workflow.getHandle(order.workflowId).describe()).status.name).toBe('RUNNING');
  expect(await reconcile()).toEqual({});

  const shipped = await stack.api.request('POST', `/v1/orders/${order.id}/shipments`, {
    token: stack.tokens.staff,
    body: { carrier: 'UPS' },
  });
  expect(shipped.status).toBe(201);
  expect(await read(`/v1/orders/${order.id}`)).toMatchObject({
    status: 'shipped',
    paymentStatus: 'captured',
  });
});

test('an order that waits for its payment goes on waiting after its workflow was terminated', async () => {
  const order = await place('tok_async');
  expect(order.status).toBe('awaiting_payment');
  const handle = stack.temporal.workflow.getHandle(order.workflowId);
  await handle.terminate('by a test');
  expect(await reconcile()).toEqual({ lost_workflow: 1 });
  await eventually('it knows where it stands', async () => {
    const { status } = await handle.query<{ status: string }>('status');
    return status === 'awaiting_payment';
  });
  await stack.api.request('DELETE', `/v1/orders/${order.id}`, { token: stack.tokens.john });
  expect((await read(`/v1/orders/${order.id}`)).status).toBe('cancelled');
});

test('an order whose workflow Temporal does not know, as after a restored backup, gets one', async () => {
  const { shippingAddress, customerId } = await place();
  const orderId = randomUUID();
  const order = acceptedAs(orderId, 'BACKU-P0000', customerId, shippingAddress);
  await placeOrders(stack.db, [{ order, provider: 'mock', cancellation: null }]);
  expect((await read(`/v1/orders/${orderId}`)).status).toBe('pending');
  expect(await reconcile()).toEqual({ lost_workflow: 1 });
  await eventually('it goes on', async () => (await read(`/v1/orders/${orderId}`)).status === 'confirmed');
});

test('a workflow that was terminated before it placed its order places it', async () => {
  const { shippingAddress, customerId } = await place();
  const orderId = randomUUID();
  const handle = await stack.temporal.workflow.start('order', {
    taskQueue: 'nobody-polls-this',
    workflowId: `order-${orderId}`,
    args: [acceptedAs(orderId, 'TERM1-NATED', customerId, shippingAddress)],
  });
  await handle.terminate('by a test');
  await eventually('visibility knows that it ended', async () => (await reconcile()).unplaced_order === 1);
  const status = () => read(`/v1/orders/${orderId}`).then((order: Order) => order.status);
  await eventually('it is placed', async () => (await status()) !== 'pending');
  expect(await status()).toBe('confirmed');
});

test('a workflow that did not hear that its order, or its return, has ended is told, and ends', async () => {
  const { db, tokens, api, temporal } = stack;
  const post = (path: string, body: object = {}) =>
    api.request('POST', path, { token: tokens.staff, body }).then((answer) => answer.body);
  const delivered = async () => {
    const order = await place();
    const { id } = await post(`/v1/orders/${order.id}/shipments`, { carrier: 'UPS' });
    await post(`/v1/shipments/${id}/deliver`);
    return order;
  };
  const askBack = (order: Order) =>
    post(`/v1/orders/${order.id}/returns`, {
      lines: [{ lineId: order.lines[0]!.id, quantity: 1 }],
      reason: 'big',
    });
  const order = await place();
  await post(`/v1/orders/${order.id}/shipments`, { carrier: 'UPS' });
  const [rejected, refunded] = await Promise.all(
    (await Promise.all([delivered(), delivered()])).map(askBack),
  );

  await sql`update ordering.orders set status = 'delivered', version = version + 1, step = step + 1,
    updated_at = now() - interval '2 minutes' where id = ${order.id}`.execute(db);
  for (const [{ id }, status] of [
    [rejected, 'rejected'],
    [refunded, 'refunded'],
  ]) {
    await sql`update ordering.returns set status = ${status}, updated_at = now() - interval '2 minutes'
      where id = ${id}`.execute(db);
  }
  await sql`update ordering.reconciliation set ended_after = now() - interval '1 hour',
    returns_after = now() - interval '1 hour'`.execute(db);
  expect(await reconcile()).toEqual({ unaware_workflow: 3 });
  const resultOf = (workflowId: string) => temporal.workflow.getHandle(workflowId).result();
  expect(await resultOf(order.workflowId)).toMatchObject({ status: 'delivered' });
  expect(await resultOf(`return-${rejected.id}`)).toBe('rejected');
  expect(await resultOf(`return-${refunded.id}`)).toBe('refunded');
  expect((await read(`/v1/orders/${order.id}`)).status).toBe('delivered');
  expect(await reconcile()).toEqual({});
});

test('a workflow that cannot be told now is told by the next run, and keeps no other from being told', async () => {
  const { db, temporal, api, tokens } = stack;
  const [first, untold, last] = [await place(), await place(), await place()];
  for (const [index, { id }] of [first, untold, last].entries()) {
    const body = { carrier: 'UPS' };
    await api.request('POST', `/v1/orders/${id}/shipments`, { token: tokens.staff, body });
    await sql`update ordering.orders set status = 'delivered', version = version + 1, step = step + 1,
      updated_at = now() - make_interval(mins => ${10 - index}) where id = ${id}`.execute(db);
  }
  await sql`update ordering.reconciliation set ended_after = now() - interval '11 minutes'`.execute(db);

  const real = { temporal: { client: temporal }, logger: pino({ level: 'silent' }), eager: false };
  const workflows = createOrderWorkflows({ ...real, circuit: noCircuit });
  const { reconcile: reconcileWithout } = createReconcileActivities({
    db,
    payments: new Map(),
    sideflows: createSideWorkflows(real.temporal, noCircuit),
    workflows: {
      ...workflows,
      isRunning: (id) => {
        if (id === untold.id) throw new Error('Temporal does not know just now.');
        return workflows.isRunning(id);
      },
    },
  });
  expect(await new MockActivityEnvironment().run(reconcileWithout)).toMatchObject({ unaware_workflow: 3 });
  const resultOf = ({ workflowId }: Order) => temporal.workflow.getHandle(workflowId).result();
  for (const told of [first, last]) expect(await resultOf(told)).toMatchObject({ status: 'delivered' });
  expect(await workflows.isRunning(untold.id)).toBe(true);

  expect(await reconcile()).toEqual({ unaware_workflow: 1 });
  expect(await resultOf(untold)).toMatchObject({ status: 'delivered' });
  expect(await reconcile()).toEqual({});
});

test('orders that ended in the same moment are looked at part by part, and again until they are seen to', async () => {
  const { db, api, tokens } = stack;
  const orders = await Promise.all([place(), place(), place()]);
  for (const { id } of orders)
    expect((await api.request('DELETE', `/v1/orders/${id}`, { token: tokens.staff })).status).toBe(200);
  await Promise.all(orders.map(({ workflowId }) => stack.temporal.workflow.getHandle(workflowId).result()));
  const ids = orders.map(({ id }) => id).toSorted();
  await sql`update ordering.orders set updated_at = now() - interval '2 minutes' where id = any (${ids})`.execute(
    db,
  );
  await sql`update ordering.reconciliation set ended_after = now() - interval '3 minutes'`.execute(db);

  const seen: string[] = [];
  for (
    let part = await nextEnded(db, 'orders', 2);
    part.length > 0;
    part = await nextEnded(db, 'orders', 2)
  ) {
    expect(await nextEnded(db, 'orders', 2)).toEqual(part);
    await passEnded(db, 'orders', part.at(-1)!);
    seen.push(...part.map(({ id }) => id));
  }
  expect(seen.filter((id) => ids.includes(id))).toEqual(ids);
});

test('stock that an ended order still holds is released, once, and its money given free', async () => {
  const order = await place();
  const before = await read(`/v1/inventory/${sku}`);
  await sql`update ordering.orders set status = 'cancelled', step = step + 1 where id = ${order.id}`.execute(
    stack.db,
  );
  expect(await reconcile()).toMatchObject({ dead_reservation: 1 });
  expect(await read(`/v1/inventory/${sku}`)).toMatchObject({
    onHand: before.onHand,
    reserved: before.reserved - 2,
  });
  await stack.temporal.workflow.getHandle(order.workflowId).result();
  expect(await read(`/v1/orders/${order.id}`)).toMatchObject({
    status: 'cancelled',
    paymentStatus: 'voided',
    lines: [{ cancelledQuantity: 2 }],
  });
  expect(await reconcile()).toEqual({});
});

test('counters that do not add up are set to what lines hold and the ledger says', async () => {
  await place();
  const right = await read('/v1/inventory/LAPTOP-13');
  await sql`update inventory.stock set reserved = reserved + 3, on_hand = on_hand - 4 where sku = ${sku}`.execute(
    stack.db,
  );
  expect(await reconcile()).toEqual({ stock_drift: 1 });
  expect(await read('/v1/inventory/LAPTOP-13')).toMatchObject({
    onHand: right.onHand,
    reserved: right.reserved,
    available: right.available,
  });
  await expectStockAddsUp(stack.db);
  expect(await reconcile()).toEqual({});
});

test('a payment that the company holds and no order knows is voided', async () => {
  const paymentId = randomUUID();
  await mockPaymentBooks(stack.db).enter({
    paymentId,
    amount: 500,
    currency: 'USD',
    token: 'tok_ok',
    status: 'authorized',
    multicapture: true,
    expires: false,
  });
  expect(await reconcile()).toEqual({ unknown_payment: 1 });
  expect(await reconcile()).toEqual({});
});

test('a movement of money and a mail that nobody works on any more are taken up', async () => {
  const order = await place();
  await stack.api.request('DELETE', `/v1/orders/${order.id}`, { token: stack.tokens.john });
  await eventually('its mail is sent', async () => (await stack.mailsAbout(order.number)).length === 2);
  await sql`update ordering.payments set status = 'pending', updated_at = now() - interval '1 hour'
    where order_id = ${order.id} and type = 'void'`.execute(stack.db);
  await sql`update messaging.notifications set status = 'queued', claimed_until = null, due_at = null,
    created_at = now() - interval '1 hour'
    where order_id = ${order.id} and template = 'order-cancelled' and channel = 'email'`.execute(stack.db);
  expect(await reconcile()).toEqual({ stuck_payment: 1, stuck_notification: 1 });
  await eventually('both are done', async () => {
    const { data } = await read(`/v1/orders/${order.id}/payments`);
    const mails = await stack.mailsAbout(order.number);
    return data.every(({ status }: { status: string }) => status === 'succeeded') && mails.length === 3;
  });
  expect(await types(order)).toEqual(
    expect.arrayContaining(['reconcile.stuck_payment', 'reconcile.stuck_notification']),
  );
  const metrics = String(await read('/metrics'));
  expect(metrics).toMatch(/holdfast_reconcile_findings_total\{kind="stuck_payment",healed="true"\} [1-9]/);
});

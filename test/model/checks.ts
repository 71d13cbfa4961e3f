import { expect } from 'vitest';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { findOrderRecord, listOrderEvents, type OrderEvent } from '../../db/orders.ts';
import type { OrderRecord } from '../../domain/record.ts';
import { isFinal } from '../../domain/states.ts';
import { replayHistories } from '../harness/replay.ts';
import type { TestStack } from '../harness/stack.ts';
import { eventually } from '../harness/wait.ts';

const TOLD = [
  'order.confirmed',
  'order.rejected',
  'order.cancelled',
  'shipment.created',
  'shipment.delivered',
  'return.requested',
  'return.approved',
  'return.rejected',
  'return.received',
  'return.refunded',
];

/** The timeline of an order tells what became of its units and its money, and each event is told once at most. */
export async function expectTimelineAddsUp(stack: TestStack, orderId: string): Promise<void> {
  const { record, events, notifications } = await readAtOnce(stack, orderId);
  const counted = (type: string) => events.filter((event) => event.type === type).length;
  const story = `${record.number} ${record.status}: ${events.map(({ type }) => type).join(', ')}`;

  expect(
    events.map(({ seq }) => seq),
    story,
  ).toEqual(events.map((_, index) => index + 1));
  expect(events[0]?.type, story).toBe('order.placed');
  expect(counted('order.confirmed'), story).toBeLessThanOrEqual(1);
  expect(counted('order.rejected'), story).toBe(record.status === 'rejected' ? 1 : 0);
  expect(counted('shipment.delivered'), story).toBe(
    record.shipments.filter(({ status }) => status === 'delivered').length,
  );
  expect({ units: toldUnits(events), money: toldMoney(events) }, story).toEqual({
    units: unitsOf(record),
    money: moneyOf(record),
  });

  for (const channel of ['email', 'push']) {
    const told = notifications.filter((notification) => notification.channel === channel);
    const timesTold = (type: string) => told.filter(({ event_type }) => event_type === type).length;
    expect(
      TOLD.map((type) => [type, timesTold(type)]),
      `the notifications by ${channel} of ${story}`,
    ).toEqual(TOLD.map((type) => [type, counted(type)]));
  }
  const sent = events
    .filter(({ type }) => type === 'notification.sent')
    .map(({ data }) => data.notificationId);
  expect(new Set(sent).size, `sent once each: ${story}`).toBe(sent.length);
}

/** An order with all that is told of it, as they are at one moment. */
const readAtOnce = ({ db }: TestStack, orderId: string) =>
  db
    .transaction()
    .setIsolationLevel('repeatable read')
    .execute(async (trx) => ({
      record: (await findOrderRecord(trx, orderId))!,
      events: await listOrderEvents(trx, orderId, { limit: 1_000, afterSeq: 0 }),
      notifications: await trx
        .selectFrom('messaging.notifications')
        .select(['id', 'event_type', 'channel'])
        .where('order_id', '=', orderId)
        .execute(),
    }));

/** How many units of each sku the timeline says were reserved, released, shipped and returned. */
function toldUnits(events: OrderEvent[]) {
  const total = (type: string) => {
    const units: Record<string, number> = {};
    for (const { data } of events.filter((event) => event.type === type)) {
      for (const { sku, quantity } of data.items as { sku: string; quantity: number }[]) {
        units[sku] = (units[sku] ?? 0) + quantity;
      }
    }
    return units;
  };
  return {
    reserved: total('stock.reserved'),
    released: total('stock.released'),
    shipped: total('shipment.created'),
    returned: total('return.received'),
  };
}

function unitsOf({ status, rejection, lines, payments }: OrderRecord): ReturnType<typeof toldUnits> {
  // Cancelled before it was placed.
  const isEarly = status === 'cancelled' && payments.length === 0;
  const total = (read: (line: OrderRecord['lines'][number]) => number) =>
    Object.fromEntries(lines.map((line) => [line.sku, read(line)]).filter(([, units]) => units !== 0));
  const reserved = rejection?.code !== 'insufficient_stock' && !isEarly;
  return {
    reserved: total(({ quantity }) => (reserved ? quantity : 0)),
    released: total(({ quantity, cancelledQuantity }) =>
      !reserved ? 0 : status === 'rejected' ? quantity : cancelledQuantity,
    ),
    shipped: total(({ shippedQuantity }) => shippedQuantity),
    returned: total(({ returnedQuantity }) => returnedQuantity),
  };
}

/** What the timeline says was authorized (how often), captured, refunded and voided (how often). */
function toldMoney(events: OrderEvent[]) {
  const amounts = (type: string) =>
    events.filter((event) => event.type === type).map(({ data }) => data.amount as number);
  return {
    authorized: amounts('payment.authorized').length,
    captured: total(amounts('payment.captured')),
    refunded: total(amounts('payment.refunded')),
    voided: amounts('payment.voided').length,
  };
}

function moneyOf({ payments }: OrderRecord): ReturnType<typeof toldMoney> {
  const amounts = (type: string) =>
    payments
      .filter((payment) => payment.type === type && payment.status === 'succeeded')
      .map(({ amount }) => amount);
  return {
    authorized: amounts('authorization').length,
    captured: total(amounts('capture')),
    refunded: total(amounts('refund')),
    voided: amounts('void').length,
  };
}

const total = (amounts: number[]): number => amounts.reduce((sum, amount) => sum + amount, 0);

/** What a workflow may wait for, and a person can name: the customer's money, the goods, the parcel's arrival. */
const WAITS = ['awaiting_payment', 'confirmed', 'partially_shipped', 'shipped'];

/** The workflow of an order has completed with it, or says what it waits for. */
export async function expectWorkflowExplained(stack: TestStack, orderId: string): Promise<void> {
  const { status } = (await findOrderRecord(stack.db, orderId))!;
  const handle = stack.temporal.workflow.getHandle(`order-${orderId}`);
  await eventually(`workflow order-${orderId} ends with its order or waits like it: ${status}`, async () => {
    const state = (await handle.describe()).status.name;
    if (isFinal(status)) {
      const ended = state === 'COMPLETED' && ((await handle.result()) as { status: string });
      return state === 'TERMINATED' || (ended && ended.status === status);
    }
    const said = await handle.query<{ status: string }>('status');
    return state === 'RUNNING' && WAITS.includes(status) && said.status === status;
  });
}

/**
 * When all is quiet nothing is under way: no money, no message, no workflow but those that wait for somebody. A workflow
 * that a kill has left without word of its end is told by `reconcile`, a minute later; its history is printed.
 */
export async function expectNothingUnderWay(
  stack: TestStack,
  reconcile: () => Promise<Record<string, number>>,
): Promise<void> {
  const { db, temporal } = stack;
  await eventually(
    'no money is under way',
    async () => {
      const pending = db.selectFrom('ordering.payments').select('id').where('status', '=', 'pending');
      const found = await pending.where('awaiting', '=', false).execute();
      if (found.length > 0) throw new Error(JSON.stringify(found));
      return true;
    },
    60,
    500,
  );
  await eventually(
    'every notification is sent',
    async () => {
      const found = await db
        .selectFrom('messaging.notifications')
        .select(['id', 'order_id', 'event_type', 'attempts'])
        .where('status', '<>', 'sent')
        .execute();
      if (found.length > 0) throw new Error(JSON.stringify(found));
      return true;
    },
    90,
    500,
  );
  let wrong: string[] = [];
  const isQuiet = async (): Promise<boolean> => {
    const waiting = await db
      .selectFrom('ordering.orders')
      .select('id')
      .where('status', 'in', WAITS as never[])
      .execute();
    const returns = await db
      .selectFrom('ordering.returns')
      .select('id')
      .where('status', 'in', ['requested', 'approved'])
      .execute();
    const explained = new Set([
      ...waiting.map(({ id }) => `order-${id}`),
      ...returns.map(({ id }) => `return-${id}`),
    ]);
    wrong = [];
    const query = 'ExecutionStatus IN ("Running", "Failed", "TimedOut")';
    for await (const { workflowId, status } of temporal.workflow.list({ query })) {
      if (status.name !== 'RUNNING' || !explained.delete(workflowId)) wrong.push(workflowId);
    }
    if (explained.size > 0) throw new Error(`not running: ${[...explained].join(', ')}`);
    return wrong.length === 0;
  };
  const what = 'no workflow runs but those that wait for somebody, and none has failed';
  await eventually(what, isQuiet, 60, 1000).catch(async (error: Error) => {
    const stories = await Promise.all(wrong.map((workflowId) => storyOf(stack, workflowId)));
    console.warn([error.message, ...stories].join('\n'));
    const found = new Set<string>();
    const heal = async () => {
      for (const kind of Object.keys(await reconcile())) found.add(kind);
      return await isQuiet();
    };
    await eventually(`after reconciling, ${what}`, heal, 120, 5000);
    expect([...found]).toEqual(['unaware_workflow']);
  });
}

/** The whole history of a workflow's last run. */
async function storyOf({ temporal }: TestStack, workflowId: string): Promise<string> {
  const history = await temporal.workflow.getHandle(workflowId).fetchHistory();
  return `${workflowId}: ${JSON.stringify(JSON.parse(historyToJSON(history)))}`;
}

/** Every workflow goes on from its history wherever it has to: what was done at once comes in the same order again. */
export async function expectHistoriesReplay({ temporal, parts }: TestStack): Promise<void> {
  const histories = temporal.workflow.list().intoHistories({ concurrency: 5 });
  const wrong: string[] = [];
  for await (const { workflowId, error } of replayHistories(parts.workflowBundle, histories)) {
    if (error) wrong.push(`${workflowId}: ${error.message}`);
  }
  expect(wrong).toEqual([]);
}

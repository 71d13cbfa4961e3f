import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLanes } from '../api/lanes.ts';
import { claimWaiting, countWaiting, leaveWord, settleClaim } from '../db/outbox.ts';
import { findOrderRecord } from '../db/orders.ts';
import type { Order } from '../domain/order.ts';
import { toPlacedOrder } from '../domain/record.ts';
import { type Answer, type Api, orderOf } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import type { Process } from './harness/processes.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

describe('the choice of the lane', () => {
  const state = { reachable: true, behind: false };
  const lanes = createLanes({
    limit: 8,
    isTemporalReachable: () => state.reachable,
    isBehind: () => state.behind,
  });
  const choose = () => lanes.enter(async (lane) => lane);
  /** An order that is under way until it is let go. */
  const hold = (): (() => Promise<void>) => {
    let end = (): void => undefined;
    const held = lanes.enter(() => new Promise<void>((resolve) => (end = resolve)));
    return () => {
      end();
      return held;
    };
  };

  test('goes by health: directly while Temporal does not answer', async () => {
    expect(await choose()).toBe('workflow');
    state.reachable = false;
    expect(await choose()).toBe('direct');
    state.reachable = true;
    expect(await choose()).toBe('workflow');
  });

  test('goes by load, and does not come back before most of it is served', async () => {
    const held = Array.from({ length: 8 }, hold);
    expect(await choose()).toBe('direct');
    for (const release of held.splice(0, 5)) await release();
    expect(await choose()).toBe('direct');
    state.behind = true;
    for (const release of held) await release();
    expect(await choose()).toBe('direct');
    state.behind = false;
    expect(await choose()).toBe('workflow');
  });

  test('an order that failed counts no longer', async () => {
    const failing = Array.from({ length: 8 }, () => lanes.enter(() => Promise.reject(new Error('failed'))));
    await Promise.allSettled(failing);
    expect(await choose()).toBe('workflow');
  });
});

describe('on a running platform', () => {
  let stack: TestStack;
  let token: string;
  /** Lets few orders be under way before it places the next ones directly. */
  let narrow: { api: Api; process: Process };
  beforeAll(async () => {
    stack = await startStack();
    token = stack.tokens.john;
    narrow = await stack.startApi({ WORKFLOW_LANE_LIMIT: '2' });
  });
  afterAll(async () => {
    await expectStockAddsUp(stack.db);
    await expectMoneyAddsUp(stack.db);
    await stack.stop();
  });

  const place = (api: Api, sku: string, key: string, prefer = 'wait=20', card = 'tok_ok') =>
    api.place(token, orderOf([{ sku, quantity: 1 }], { payment: { method: 'card', token: card } }), {
      'idempotency-key': key,
      prefer,
    });

  const accepted = async ({ api }: { api: Api }, lane: string): Promise<number> => {
    const { body } = await api.request<string>('GET', '/metrics');
    return Number(
      new RegExp(`^holdfast_orders_accepted_total\\{lane="${lane}"\\} (\\d+)`, 'm').exec(body)?.[1],
    );
  };

  const typesOf = async ({ id }: Order): Promise<string[]> => {
    const { body } = await stack.api.request('GET', `/v1/orders/${id}/events`, { token });
    return body.data.map(({ type }: { type: string }) => type);
  };

  /** Fills the narrow lane for some seconds. */
  const occupy = async (sku: string) => {
    const slow = [1, 2].map(() => place(narrow.api, sku, randomUUID(), 'wait=20', 'tok_slow'));
    await eventually('the lane is full', async () => {
      const rows = await stack.db
        .selectFrom('ordering.order_lines')
        .select('order_id')
        .where('sku', '=', sku)
        .execute();
      return rows.length >= 2;
    });
    return () => Promise.all(slow);
  };

  test('an order that is placed directly ends as any other, and its timeline tells the same', async () => {
    await stack.stock('DIRECT', 100);
    const isDone = await occupy('DIRECT');
    const before = await accepted(narrow, 'direct');
    const [direct, declined, short] = await Promise.all([
      place(narrow.api, 'DIRECT', randomUUID()),
      place(narrow.api, 'DIRECT', randomUUID(), 'wait=20', 'tok_declined'),
      narrow.api.place(token, orderOf([{ sku: 'DIRECT', quantity: 1000 }])),
    ]);
    expect(await accepted(narrow, 'direct')).toBe(before + 3);
    expect(direct).toMatchObject({ status: 201, body: { status: 'confirmed', paymentStatus: 'authorized' } });
    expect(declined).toMatchObject({ status: 201, body: { rejection: { code: 'payment_declined' } } });
    expect(short).toMatchObject({ status: 201, body: { rejection: { code: 'insufficient_stock' } } });
    for (const { status } of await isDone()) expect(status).toBe(201);

    const through = await place(stack.api, 'DIRECT', randomUUID());
    for (const { body } of [direct, through]) {
      await eventually('the customer was told by mail and push', async () => {
        const types = await typesOf(body);
        return types.filter((type) => type === 'notification.sent').length === 2;
      });
    }
    expect(await typesOf(direct.body)).toEqual(await typesOf(through.body));
    expect((await stack.mailsAbout(direct.body.number)).map(({ subject }) => subject)).toHaveLength(1);
    await eventually('no order waits', async () => (await countWaiting(stack.db)).count === 0);
    for (const { body } of [declined, short]) {
      const result = await stack.temporal.workflow.getHandle(body.workflowId).result();
      expect(result).toMatchObject({ status: 'rejected' });
    }
  });

  test('the same key through both lanes at once is one order', async () => {
    await stack.stock('BOTH-LANES', 100);
    const isDone = await occupy('BOTH-LANES');
    const before = await accepted(narrow, 'direct');
    const keys = Array.from({ length: 20 }, () => randomUUID());
    const answers = await Promise.all(
      keys.map((key) =>
        Promise.all([place(stack.api, 'BOTH-LANES', key), place(narrow.api, 'BOTH-LANES', key)]),
      ),
    );
    await isDone();
    for (const [one, other] of answers) {
      expect(one).toMatchObject({ status: 201, body: { status: 'confirmed' } });
      expect(other).toMatchObject({ status: 201, body: { id: one.body.id, status: 'confirmed' } });
      expect((await typesOf(one.body)).filter((type) => type !== 'notification.sent')).toEqual([
        'order.placed',
        'stock.reserved',
        'payment.authorized',
        'order.confirmed',
      ]);
    }
    const orders = await stack.db
      .selectFrom('ordering.order_lines')
      .select('order_id')
      .where('sku', '=', 'BOTH-LANES')
      .execute();
    expect(orders).toHaveLength(22);
    expect(await accepted(narrow, 'direct')).toBeGreaterThan(before);
  });

  test('a burst, and the API is killed in the middle: every order is there once, and has its workflow', async () => {
    await stack.stock('BURST', 115);
    const { api, process } = await stack.startApi({ WORKFLOW_LANE_LIMIT: '4' });
    const keys = Array.from({ length: 120 }, () => randomUUID());
    const left = [...keys];
    const ids = new Map<string, string>();
    /** As a careful client does: asks again elsewhere, with the same key, when it hears nothing. */
    const send = async (key: string): Promise<Answer<Order>> =>
      place(api, 'BURST', key, 'respond-async').catch(() =>
        place(narrow.api, 'BURST', key, 'respond-async').catch(() => send(key)),
      );
    let killed: Promise<void> | undefined;
    const client = async (): Promise<void> => {
      for (let key = left.shift(); key !== undefined; key = left.shift()) {
        const { status, body } = await send(key);
        expect([201, 202]).toContain(status);
        ids.set(key, body.id);
        if (ids.size === 40) killed = process.kill();
      }
    };
    await Promise.all(Array.from({ length: 40 }, client));
    await killed;

    const ended = await Promise.all(
      keys.map((key) =>
        eventually(
          'the order is settled',
          async () => {
            const { status, body } = await place(narrow.api, 'BURST', key, 'wait=10');
            return status === 201 && body;
          },
          60,
        ),
      ),
    );
    expect(ended.map(({ id }) => id)).toEqual(keys.map((key) => ids.get(key)));
    const counts = { confirmed: 0, rejected: 0 };
    for (const { status } of ended) counts[status as keyof typeof counts] += 1;
    expect(counts).toEqual({ confirmed: 115, rejected: 5 });
    await eventually('no order waits', async () => (await countWaiting(stack.db)).count === 0, 60);
    const workflows = ended.map(({ workflowId }) => stack.temporal.workflow.getHandle(workflowId));
    await eventually(
      'the workflows of the confirmed ones run, the others have ended',
      async () => {
        const described = await Promise.all(workflows.map((workflow) => workflow.describe()));
        return described.filter(({ status }) => status.name === 'RUNNING').length === 115;
      },
      60,
    );
    expect(await accepted(narrow, 'direct')).toBeGreaterThan(0);
    for (const order of ended.slice(0, 10)) expect(await typesOf(order)).not.toContain('workflow.restarted');
  }, 180_000);

  test('what waits is claimed by one dispatcher, the oldest first, free again when that one has died, and told again when there is more to tell', async () => {
    await stack.stock('CLAIMED', 10);
    const orders: Order[] = [];
    for (let index = 0; index < 4; index += 1) {
      orders.push((await place(stack.api, 'CLAIMED', randomUUID())).body);
    }
    await stack.db.transaction().execute(async (trx) => {
      // Not committed: no dispatcher of the platform sees them.
      for (const [index, { id }] of orders.entries()) {
        await leaveWord(trx, toPlacedOrder((await findOrderRecord(trx, id))!));
        await leaveWord(trx, toPlacedOrder((await findOrderRecord(trx, id))!));
        await trx
          .updateTable('ordering.outbox')
          .set({ created_at: new Date(2000 - index, 0) })
          .where('order_id', '=', id)
          .execute();
      }
      const [a, b, c, d] = orders.map(({ id }) => id);
      const claim = async (limit: number, seconds: number) => {
        const { until, orders: claimed } = await claimWaiting(trx, { limit, seconds, minAgeSeconds: 60 });
        return { until, ids: claimed.map(({ orderId }) => orderId) };
      };
      const first = await claim(2, 30);
      expect(first.ids).toEqual([d, c]);
      expect((await claim(2, -1)).ids).toEqual([b, a]);
      const second = await claim(9, 40);
      expect(second.ids).toEqual([b, a]);
      await settleClaim(trx, first, [d!], [c!]);
      const third = await claim(9, 50);
      expect(third.ids).toEqual([c]);

      await leaveWord(trx, toPlacedOrder((await findOrderRecord(trx, a!))!));
      await settleClaim(trx, second, [a!, b!], []);
      const fourth = await claim(9, 60);
      expect(fourth.ids).toEqual([a]);
      await settleClaim(trx, fourth, [a!], []);
      await settleClaim(trx, third, [c!], []);
      expect(await countWaiting(trx)).toEqual({ count: 0, oldest: null });
    });
  });
});

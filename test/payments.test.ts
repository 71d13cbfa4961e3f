import { randomUUID } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import { paymentIdFor } from '../domain/ids.ts';
import type { Order } from '../domain/order.ts';
import { MOCK_WEBHOOK_SECRET, onPlatform, type OrderLife, statusesOf, times } from './harness/order-life.ts';
import { expectProblem } from './harness/problems.ts';
import { eventually } from './harness/wait.ts';

let life: OrderLife;

const begin = (started: OrderLife) => {
  life = started;
};

const PAYMENTS = '/v1/payments/mock/webhook';
const DECLINED = [
  ['tok_declined', 'Your card was declined.'],
  ['tok_insufficient_funds', 'Your card has insufficient funds.'],
  ['tok_nobody_knows', 'This card token is not known.'],
] as const;

const untilStatus = (order: Order, status: string): Promise<Order> =>
  eventually(`${order.number} is ${status}`, async () => {
    const now = await life.read(order);
    return now.status === status && now;
  });

const untilPaymentStatus = (order: Order, status: string): Promise<Order> =>
  eventually(`the payment of ${order.number} is ${status}`, async () => {
    const now = await life.read(order);
    return now.paymentStatus === status && now;
  });

/** Everybody agrees that the order is cancelled, gave back its stock, and holds none of the customer's money. */
async function expectCancelledAndVoided(order: Order): Promise<void> {
  expect(await life.result(order)).toMatchObject({ orderId: order.id, status: 'cancelled' });
  expect(await untilPaymentStatus(order, 'voided')).toMatchObject({ status: 'cancelled' });
  expect(await life.stockOf(order.lines[0]!.sku)).toMatchObject({ reserved: 0 });
  const types = await life.events(order);
  for (const type of ['order.cancelled', 'stock.released', 'payment.voided']) {
    expect(types.filter((one) => one === type)).toEqual([type]);
  }
  const voids = (await life.payments(order)).filter(([type]) => type === 'void');
  expect(voids).toEqual([['void', 'succeeded', order.total]]);
  expect(await life.moved(order, 'void')).toHaveLength(1);
  expect(await life.intents(order)).toMatchObject([{ status: 'voided', captured: 0 }]);
}

/** Confirmed once: by one event, one mail and one hold in the company's books. */
async function expectConfirmedOnce(order: Order): Promise<void> {
  expect(await untilStatus(order, 'confirmed')).toMatchObject({ paymentStatus: 'authorized' });
  const types = await life.events(order);
  expect(types.filter((type) => type === 'payment.authorized')).toHaveLength(1);
  expect(types.filter((type) => type === 'order.confirmed')).toHaveLength(1);
  expect(await life.payments(order)).toEqual([['authorization', 'succeeded', order.total]]);
  expect(await life.mails(order)).toEqual(['We have your order #']);
}

describe('payments', () => {
  onPlatform(begin);

  describe('what becomes of an order by its card', () => {
    test('tok_ok: confirmed, and the money is held', async () => {
      const sku = await life.goods(10, 1500);
      const placed = await life.place([{ sku, quantity: 2 }]);
      expect(placed.status).toBe(201);
      const order = placed.body;
      expect(order).toMatchObject({ status: 'confirmed', paymentStatus: 'authorized', version: 1 });
      expect(await life.paymentList(order)).toEqual([
        {
          id: expect.stringMatching(/^[0-9a-f-]{36}$/),
          type: 'authorization',
          status: 'succeeded',
          amount: 3000,
          currency: 'USD',
          provider: 'mock',
          createdAt: expect.stringMatching(/Z$/),
        },
      ]);
      expect(await life.intents(order)).toMatchObject([{ status: 'authorized', amount: 3000, captured: 0 }]);
      expect(await life.events(order)).toEqual([
        'order.placed',
        'stock.reserved',
        'payment.authorized',
        'order.confirmed',
      ]);
      await expectConfirmedOnce(order);
    });

    test.each(DECLINED)('%s: rejected, the stock is back, the customer hears why', async (card, detail) => {
      const sku = await life.goods(10);
      const placed = await life.place([{ sku, quantity: 2 }], { card });
      expect(placed).toMatchObject({
        status: 201,
        body: {
          status: 'rejected',
          paymentStatus: 'failed',
          rejection: { code: 'payment_declined', detail },
          lines: [{ cancelledQuantity: 0, shippedQuantity: 0 }],
        },
      });
      const order = placed.body;
      expect(await life.stockOf(sku)).toEqual({ onHand: 10, reserved: 0 });
      expect(await life.movements(order)).toEqual([
        ['reservation', 2],
        ['release', 2],
      ]);
      expect(await life.paymentList(order)).toMatchObject([
        { type: 'authorization', status: 'failed', amount: 2000, reason: detail },
      ]);
      expect(await life.result(order)).toEqual({
        orderId: order.id,
        status: 'rejected',
        paymentStatus: 'failed',
        reason: 'payment_declined',
      });
      expect(await life.events(order)).toEqual([
        'order.placed',
        'stock.reserved',
        'payment.failed',
        'stock.released',
        'order.rejected',
      ]);
      expect(await life.mails(order)).toEqual(['The payment for your order # did not go through']);
    });

    test('tok_flaky: the company fails twice, and then works', async () => {
      const order = await life.placed(1, { card: 'tok_flaky' });
      await expectConfirmedOnce(order);
      expect(await life.intents(order)).toMatchObject([{ status: 'authorized' }]);
    });

    test('tok_flaky, ten at once: all are confirmed, and nobody else waits for them', async () => {
      const sku = await life.goods();
      const flaky = times(10, () => life.place([{ sku, quantity: 1 }], { card: 'tok_flaky' }));
      await eventually('the company has failed', async () => {
        const { rows } = await sql`
          select from mock_company.payment_intents where token = 'tok_flaky' and status = 'authorized'
        `.execute(life.stack.db);
        return rows.length >= 10;
      });
      expect(await life.place([{ sku, quantity: 1 }])).toMatchObject({
        status: 201,
        body: { status: 'confirmed' },
      });
      for (const { body } of await flaky) await untilStatus(body, 'confirmed');
    });

    test('tok_slow: nobody else waits for it', async () => {
      let answered = false;
      const sku = await life.goods();
      const slow = life.place([{ sku, quantity: 1 }], { card: 'tok_slow' }).finally(() => (answered = true));
      await eventually('the company is asked', async () => {
        const { rows } = await sql`select from mock_company.payment_intents where token = 'tok_slow'`.execute(
          life.stack.db,
        );
        return rows.length > 0;
      });
      const other = await life.place([{ sku, quantity: 1 }]);
      expect(other).toMatchObject({ status: 201, body: { status: 'confirmed' } });
      expect(answered).toBe(false);
      const placed = await slow;
      expect(placed).toMatchObject({ status: 201, body: { status: 'confirmed' } });
      await expectConfirmedOnce(placed.body);
    });

    test('tok_slow, for somebody who does not wait so long: 202, and confirmed later', async () => {
      const sku = await life.goods();
      const placed = await life.place([{ sku, quantity: 1 }], {
        card: 'tok_slow',
        headers: { prefer: 'wait=1' },
      });
      expect(placed).toMatchObject({ status: 202, body: { status: 'pending', paymentStatus: 'none' } });
      expect(await life.payments(placed.body)).toEqual([['authorization', 'pending', 1000]]);
      await expectConfirmedOnce(placed.body);
    });

    test('tok_async: 201, awaiting_payment, the stock is held', async () => {
      const sku = await life.goods(10);
      const placed = await life.place([{ sku, quantity: 2 }], { card: 'tok_async' });
      expect(placed).toMatchObject({
        status: 201,
        body: { status: 'awaiting_payment', paymentStatus: 'none' },
      });
      expect(placed.headers.get('location')).toBe(`/v1/orders/${placed.body.id}`);
      expect(await life.payments(placed.body)).toEqual([['authorization', 'pending', 2000]]);
      expect(await life.stockOf(sku)).toEqual({ onHand: 10, reserved: 2 });
      expect(await life.intents(placed.body)).toMatchObject([{ status: 'processing' }]);
      expect(await life.workflow(placed.body).query('status')).toEqual({
        orderId: placed.body.id,
        status: 'awaiting_payment',
        paymentStatus: 'none',
      });
      const listed = await life.api.request('GET', '/v1/orders?status=awaiting_payment', {
        token: life.stack.tokens.john,
      });
      expect(listed.body.data.map(({ id }: Order) => id)).toContain(placed.body.id);
    });

    test('a free order needs no payment', async () => {
      const order = await life.placed(2, { price: 0 });
      expect(order).toMatchObject({ status: 'confirmed', paymentStatus: 'none', total: 0, version: 1 });
      expect(await life.paymentList(order)).toEqual([]);
      await life.deliver((await life.ship(order)).body);
      expect(await life.result(order)).toEqual({
        orderId: order.id,
        status: 'delivered',
        paymentStatus: 'none',
      });
      expect(await life.payments(order)).toEqual([]);
      expectProblem(await life.refund(order, { amount: 1 }), 409, 'refund_exceeds_captured');
    });

    test('a free order with a card that is declined, and its cancellation', async () => {
      const order = await life.placed(1, { price: 0, card: 'tok_declined' });
      expect(order.status).toBe('confirmed');
      expect(await life.cancel(order)).toMatchObject({
        status: 200,
        body: { status: 'cancelled', paymentStatus: 'none' },
      });
      expect(await life.payments(order)).toEqual([]);
    });
  });

  describe('an order that waits for its payment', () => {
    const awaiting = async (quantity = 1): Promise<{ order: Order; paymentId: string }> => {
      const order = await life.placed(quantity, { card: 'tok_async' });
      expect(order.status).toBe('awaiting_payment');
      return { order, paymentId: await life.paymentId(order) };
    };

    test('authorized by webhook: confirmed', async () => {
      const { order, paymentId } = await awaiting();
      const answer = await life.paymentWebhook('payment.authorized', paymentId);
      expect(answer).toMatchObject({ status: 200, body: { received: true } });
      await expectConfirmedOnce(order);
      expect(await life.intents(order)).toMatchObject([{ status: 'authorized' }]);
      await life.deliver((await life.ship(order)).body);
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
      const before = [await life.read(order), await life.paymentList(order), await life.events(order)];
      expect((await life.paymentWebhook('payment.authorized', paymentId)).status).toBe(200);
      expect((await life.paymentWebhook('payment.failed', paymentId)).status).toBe(200);
      expect([await life.read(order), await life.paymentList(order), await life.events(order)]).toEqual(
        before,
      );
    });

    test('failed by webhook: rejected, the stock is back', async () => {
      const { order, paymentId } = await awaiting(3);
      await life.paymentWebhook('payment.failed', paymentId);
      expect(await untilStatus(order, 'rejected')).toMatchObject({
        paymentStatus: 'failed',
        rejection: { code: 'payment_declined' },
      });
      expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 100, reserved: 0 });
      expect(await life.result(order)).toMatchObject({ status: 'rejected', reason: 'payment_declined' });
      expect(await life.mails(order)).toEqual(['The payment for your order # did not go through']);
    });

    test('the webhook twice, and ten at once, confirm it once', async () => {
      const { order, paymentId } = await awaiting();
      const answers = await times(10, () => life.paymentWebhook('payment.authorized', paymentId));
      expect(statusesOf(answers)).toEqual(Array(10).fill(200));
      await expectConfirmedOnce(order);
      const { version } = await life.read(order);
      expect((await life.paymentWebhook('payment.authorized', paymentId)).status).toBe(200);
      await expectConfirmedOnce(order);
      expect((await life.read(order)).version).toBe(version);
    });

    test('ten failures at once reject it once', async () => {
      const { order, paymentId } = await awaiting();
      await times(10, () => life.paymentWebhook('payment.failed', paymentId));
      await untilStatus(order, 'rejected');
      expect(await life.movements(order)).toEqual([
        ['reservation', 1],
        ['release', 1],
      ]);
      expect(await life.mails(order)).toEqual(['The payment for your order # did not go through']);
      expect((await life.paymentWebhook('payment.failed', paymentId)).status).toBe(200);
    });

    test('what the company says last changes nothing of what it said first', async () => {
      const { order, paymentId } = await awaiting();
      await life.paymentWebhook('payment.authorized', paymentId);
      await untilStatus(order, 'confirmed');
      expect((await life.paymentWebhook('payment.failed', paymentId)).status).toBe(200);
      await expectConfirmedOnce(order);
    });

    test('failed, and then authorized after all: it stays rejected, and nothing stays held', async () => {
      const { order, paymentId } = await awaiting();
      await life.paymentWebhook('payment.failed', paymentId);
      await untilStatus(order, 'rejected');
      expect((await life.paymentWebhook('payment.authorized', paymentId)).status).toBe(200);
      expect(await life.result(order)).toMatchObject({ status: 'rejected', paymentStatus: 'failed' });
      expect(await untilPaymentStatus(order, 'voided')).toMatchObject({ status: 'rejected' });
      expect(await life.intents(order)).toMatchObject([{ status: 'voided', captured: 0 }]);
      expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 100, reserved: 0 });
    });

    test('the webhook comes before the answer, over HTTP: confirmed', async () => {
      const sku = await life.goods();
      const orders = await times(10, async () => {
        const headers = { prefer: 'respond-async' };
        return (await life.place([{ sku, quantity: 1 }], { card: 'tok_async', headers })).body;
      });
      await Promise.all(
        orders.map(async (order) => {
          const paymentId = paymentIdFor(order.id, 0);
          await eventually('the company knows the payment', async () => (await life.intents(order)).length);
          await life.paymentWebhook('payment.authorized', paymentId);
        }),
      );
      for (const order of orders) await expectConfirmedOnce(order);
    });

    const doors = {
      'by webhook': (paymentId: string) => life.paymentWebhook('payment.authorized', paymentId),
      'by signal': (paymentId: string, order: Order) => {
        const outcome = { status: 'authorized', reference: `mock_${paymentId}`, multicapture: true };
        return life.workflow(order).signal('payment', { paymentId, outcome });
      },
    };
    test.each(Object.keys(doors))(
      'authorized before the company has answered, %s: held once',
      async (door) => {
        const sku = await life.goods();
        const placing = { card: 'tok_slow', headers: { prefer: 'respond-async' } };
        const { body: order } = await life.place([{ sku, quantity: 1 }], placing);
        await eventually('the company is asked', async () => (await life.intents(order)).length);
        expect((await life.read(order)).status).toBe('pending');
        await doors[door as keyof typeof doors](await life.paymentId(order), order);
        await expectConfirmedOnce(order);
        expect(await life.intents(order)).toMatchObject([{ status: 'authorized' }]);
      },
    );

    test('the same as a signal, among signals nobody can read', async () => {
      const { order, paymentId } = await awaiting();
      const handle = life.workflow(order);
      const unreadable = [
        undefined,
        42,
        'paid',
        {},
        { paymentId },
        { paymentId, outcome: 'authorized' },
        { paymentId, outcome: {} },
        { paymentId, outcome: { status: 'perhaps' } },
        { paymentId, outcome: { status: 'authorized' } },
        { paymentId: randomUUID(), outcome: { status: 'authorized', reference: 'x', multicapture: true } },
        { paymentId: 'mine', outcome: { status: 'authorized', reference: 'x', multicapture: true } },
        { paymentId, outcome: { status: 'moved' } },
      ];
      for (const news of unreadable) await handle.signal('payment', news);
      await life.stack.temporal.workflowService.signalWorkflowExecution({
        namespace: 'payments',
        workflowExecution: { workflowId: order.workflowId },
        signalName: 'payment',
        input: { payloads: [{ metadata: {}, data: new TextEncoder().encode('{"paymentId": ') }] },
      });
      expect(await handle.query('status')).toMatchObject({ status: 'awaiting_payment' });
      const reference = `mock_${paymentId}`;
      await life.paymentWebhook('payment.authorized', paymentId);
      const outcome = { status: 'authorized', reference, multicapture: true };
      await handle.signal('payment', { paymentId, outcome });
      await expectConfirmedOnce(order);
      expect((await life.ship(order)).status).toBe(201);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', paymentStatus: 'captured' });
    });

    test('cancelled at the very moment of the webhook: cancelled, and voided once', async () => {
      const all = await times(10, () => awaiting());
      await Promise.all(
        all.flatMap(({ order, paymentId }, index) => {
          const webhook = () => life.paymentWebhook('payment.authorized', paymentId);
          const cancel = async () => expect((await life.cancel(order)).status).toBe(200);
          return index % 2 === 0 ? [webhook(), cancel()] : [cancel(), webhook()];
        }),
      );
      for (const { order } of all) await expectCancelledAndVoided(order);
    });

    test('authorized after it was cancelled and its workflow closed: voided, once', async () => {
      const { order, paymentId } = await awaiting();
      expect((await life.cancel(order)).body).toMatchObject({ status: 'cancelled' });
      await expectCancelledAndVoided(order);
      const answers = await times(5, () => life.paymentWebhook('payment.authorized', paymentId));
      expect(statusesOf(answers)).toEqual([200, 200, 200, 200, 200]);
      const closing = life.workflow({ workflowId: `refund-${paymentId}` });
      expect(await closing.result()).toBe('voided');
      await expectCancelledAndVoided(order);
    });

    test('failed after it was cancelled: it stays cancelled', async () => {
      const { order, paymentId } = await awaiting();
      await life.cancel(order);
      await expectCancelledAndVoided(order);
      expect((await life.paymentWebhook('payment.failed', paymentId)).status).toBe(200);
      await expectCancelledAndVoided(order);
    });

    test('single units of it are cancelled, then it is authorized: the rest ships and is captured', async () => {
      const { order, paymentId } = await awaiting(3);
      const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
      expect((await life.cancel(order, { lines })).body).toMatchObject({
        status: 'awaiting_payment',
        lines: [{ cancelledQuantity: 1 }],
      });
      await life.paymentWebhook('payment.authorized', paymentId);
      await untilStatus(order, 'confirmed');
      await life.deliver((await life.ship(order)).body);
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
      expect(await life.moved(order, 'capture')).toEqual([2000]);
      expect(await life.intents(order)).toMatchObject([{ status: 'captured', captured: 2000 }]);
    });

    test('its workflow was terminated, then the webhook comes: it goes on from its row, confirmed', async () => {
      const { order, paymentId } = await awaiting();
      await life.workflow(order).terminate('by a test');
      expect((await life.paymentWebhook('payment.authorized', paymentId)).status).toBe(200);
      await expectConfirmedOnce(order);
      expect((await life.events(order)).filter((type) => type === 'workflow.restarted')).toHaveLength(1);
      await life.deliver((await life.ship(order)).body);
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
    });

    test('its workflow was terminated, then ten webhooks come: confirmed once', async () => {
      const { order, paymentId } = await awaiting();
      await life.workflow(order).terminate('by a test');
      const answers = await times(10, () => life.paymentWebhook('payment.authorized', paymentId));
      expect(statusesOf(answers)).toEqual(Array(10).fill(200));
      await expectConfirmedOnce(order);
    });

    test('it can be changed, and neither shipped nor refunded', async () => {
      const { order } = await awaiting();
      expectProblem(await life.ship(order), 409, 'invalid_transition');
      expectProblem(await life.refund(order, { amount: 1 }), 409, 'refund_exceeds_captured');
      const changed = await life.api.request('PATCH', `/v1/orders/${order.id}`, {
        token: life.stack.tokens.john,
        body: { note: 'ring twice' },
      });
      expect(changed).toMatchObject({
        status: 200,
        body: { status: 'awaiting_payment', note: 'ring twice' },
      });
    });
  });

  describe('webhooks that are not what they should be', () => {
    const body = (paymentId: string) => JSON.stringify({ type: 'payment.authorized', data: { paymentId } });

    test('badly signed, signed for another body, too old, or without a signature: 401, and nothing happens', async () => {
      const order = await life.placed(1, { card: 'tok_async' });
      const raw = body(await life.paymentId(order));
      const signed = life.sign(raw);
      const other = 'whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHNhbWUgbGVuZ3RoISE=';
      const aged = (seconds: number) => {
        const at = new Date(Date.now() - seconds * 1000);
        const signature = new Webhook(MOCK_WEBHOOK_SECRET).sign('msg_1', at, raw);
        return {
          'webhook-id': 'msg_1',
          'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
          'webhook-signature': signature,
        };
      };
      const refused = [
        {},
        { ...signed, 'webhook-signature': 'v1,bm90IHNpZ25lZA==' },
        { ...signed, 'webhook-signature': '' },
        { ...signed, 'webhook-timestamp': 'yesterday' },
        { ...signed, 'webhook-id': 'another' },
        life.sign(raw, other),
        life.sign(body(randomUUID())),
        aged(600),
        aged(-600),
      ];
      for (const headers of refused) {
        expectProblem(await life.webhook(PAYMENTS, raw, headers), 401, 'invalid_signature');
      }
      expect((await life.read(order)).status).toBe('awaiting_payment');
      expect((await life.webhook(PAYMENTS, raw, aged(200))).status).toBe(200);
      await expectConfirmedOnce(order);
    });

    test('signed, and not to be read: 422', async () => {
      const garbage = [
        '',
        'not JSON',
        '42',
        '[]',
        '{}',
        '{"type": "payment.authorized"}',
        '{"type": "payment.authorized", "data": {"paymentId": "42"}}',
        '{"type": "payment.failed", "data": {"paymentId": null}}',
      ];
      for (const raw of garbage) {
        expectProblem(await life.webhook(PAYMENTS, raw), 422, 'validation_failed');
      }
    });

    test('of an unknown payment, of a movement that is none, or of another kind: 200, and nothing changes', async () => {
      const order = await life.placed(2);
      await life.shipUnits(order, 1);
      const before = [await life.read(order), await life.paymentList(order), await life.events(order)];
      const capture = (await life.paymentList(order))[1]!;
      expect(capture.type).toBe('capture');
      for (const paymentId of [randomUUID(), capture.id]) {
        expect((await life.paymentWebhook('payment.authorized', paymentId)).status).toBe(200);
        expect((await life.paymentWebhook('payment.failed', paymentId)).status).toBe(200);
      }
      expect((await life.webhook(PAYMENTS, '{"type": "payout.paid", "data": {}}')).status).toBe(200);
      expect([await life.read(order), await life.paymentList(order), await life.events(order)]).toEqual(
        before,
      );
    });

    test('of a company nobody knows: 404', async () => {
      const raw = body(randomUUID());
      expectProblem(await life.webhook('/v1/payments/nobody/webhook', raw), 404, 'not_found');
      expectProblem(await life.webhook('/v1/payments/stripe/webhook', raw), 404, 'not_found');
    });
  });

  describe('cancelled while the company has not answered', () => {
    test('over HTTP: cancelled at once; the authorization that comes is voided, and nothing stays held', async () => {
      const sku = await life.goods(10);
      const answer = life.place([{ sku, quantity: 1 }], { card: 'tok_slow' });
      const order = await eventually('the order waits for the company', async () => {
        const { body } = await life.api.request('GET', `/v1/orders?sku=${sku}`, {
          token: life.stack.tokens.staff,
        });
        return (body.data as Order[]).find(({ status }) => status === 'pending');
      });
      const cancelled = await life.cancel(order, { reason: 'too slow' });
      expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
      expect(await life.stockOf(sku)).toEqual({ onHand: 10, reserved: 0 });
      expect(await answer).toMatchObject({ status: 201, body: { id: order.id, status: 'cancelled' } });
      await expectCancelledAndVoided(order);
      expect(await life.payments(order)).toEqual([
        ['authorization', 'succeeded', 1000],
        ['void', 'succeeded', 1000],
      ]);
      expect(await life.mails(order)).toEqual(['Your order # is cancelled']);
    });

    test('by temporal workflow cancel: the same', async () => {
      const sku = await life.goods(10);
      const placing = { card: 'tok_slow', headers: { prefer: 'respond-async' } };
      const { body: order } = await life.place([{ sku, quantity: 1 }], placing);
      await eventually('the company is asked', async () => (await life.intents(order)).length);
      await life.temporal('workflow', 'cancel', '-w', order.workflowId);
      await expectCancelledAndVoided(order);
      expect((await life.workflow(order).describe()).status.name).toBe('COMPLETED');
    });

    test('declined by webhook meanwhile: rejected, and what the company answers then is voided', async () => {
      const sku = await life.goods(10);
      const placing = { card: 'tok_slow', headers: { prefer: 'respond-async' } };
      const { body: order } = await life.place([{ sku, quantity: 1 }], placing);
      await eventually('the company is asked again', async () => (await life.intents(order))[0]?.calls === 2);
      await life.paymentWebhook('payment.failed', await life.paymentId(order));
      await untilStatus(order, 'rejected');
      expect(await life.result(order)).toMatchObject({ status: 'rejected' });
      await eventually('nothing is held', async () => (await life.intents(order))[0]!.status === 'voided');
      expect(await life.stockOf(sku)).toEqual({ onHand: 10, reserved: 0 });
    });
  });

  describe('money follows goods', () => {
    test('what ships is captured, no more and no less', async () => {
      const sku = [await life.goods(10, 1000), await life.goods(10, 250)] as const;
      const { body: order } = await life.place([
        { sku: sku[0], quantity: 2 },
        { sku: sku[1], quantity: 3 },
      ]);
      await life.shipUnits(order, 1, 0);
      expect(await life.read(order)).toMatchObject({
        status: 'partially_shipped',
        paymentStatus: 'partially_captured',
      });
      expect(await life.moved(order, 'capture')).toEqual([1000]);
      await life.ship(order, {
        lines: [
          { lineId: order.lines[0]!.id, quantity: 1 },
          { lineId: order.lines[1]!.id, quantity: 2 },
        ],
      });
      expect(await life.moved(order, 'capture')).toEqual([1000, 1500]);
      await life.shipUnits(order, 1, 1);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', paymentStatus: 'captured' });
      expect(await life.payments(order)).toEqual([
        ['authorization', 'succeeded', 2750],
        ['capture', 'succeeded', 1000],
        ['capture', 'succeeded', 1500],
        ['capture', 'succeeded', 250],
      ]);
      expect(await life.intents(order)).toMatchObject([{ status: 'captured', captured: 2750 }]);
      expect((await life.events(order)).filter((type) => type === 'payment.captured')).toHaveLength(3);
    });

    test('cancelled units are not captured; the rest of the money is given free with the last capture', async () => {
      const order = await life.placed(3);
      await life.cancel(order, { lines: [{ lineId: order.lines[0]!.id, quantity: 1 }] });
      expect(await life.read(order)).toMatchObject({ status: 'confirmed', paymentStatus: 'authorized' });
      await life.ship(order);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', paymentStatus: 'captured' });
      expect(await life.moved(order, 'capture')).toEqual([2000]);
      expect(await life.intents(order)).toMatchObject([{ status: 'captured', captured: 2000 }]);
    });

    test('the rest of a partly shipped order is cancelled: captured stays, the rest is voided', async () => {
      const order = await life.placed(3);
      await life.shipUnits(order, 1);
      await life.cancel(order);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', paymentStatus: 'captured' });
      expect(await life.payments(order)).toEqual([
        ['authorization', 'succeeded', 3000],
        ['capture', 'succeeded', 1000],
        ['void', 'succeeded', 2000],
      ]);
      expect(await life.intents(order)).toMatchObject([{ status: 'captured', captured: 1000 }]);
    });

    test('tok_single_capture: captured once, with the last shipment', async () => {
      const order = await life.placed(3, { card: 'tok_single_capture' });
      await life.shipUnits(order, 1);
      await life.shipUnits(order, 1);
      expect(await life.read(order)).toMatchObject({
        status: 'partially_shipped',
        paymentStatus: 'authorized',
      });
      expect(await life.moved(order, 'capture')).toEqual([]);
      await life.shipUnits(order, 1);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', paymentStatus: 'captured' });
      expect(await life.moved(order, 'capture')).toEqual([3000]);
    });

    test('tok_single_capture: captured once, when the rest is cancelled', async () => {
      const order = await life.placed(3, { card: 'tok_single_capture' });
      await life.shipUnits(order, 2);
      expect(await life.moved(order, 'capture')).toEqual([]);
      await life.cancel(order);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', paymentStatus: 'captured' });
      expect(await life.moved(order, 'capture')).toEqual([2000]);
      expect(await life.intents(order)).toMatchObject([{ status: 'captured', captured: 2000 }]);
    });

    test('tok_single_capture: its first parcel arrives before the rest is shipped; the order ends captured', async () => {
      const order = await life.placed(2, { card: 'tok_single_capture' });
      await life.deliver((await life.shipUnits(order, 1)).body);
      expect(await life.read(order)).toMatchObject({
        status: 'partially_shipped',
        paymentStatus: 'authorized',
      });
      await life.deliver((await life.shipUnits(order, 1)).body);
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
    });

    test('tok_expires: what has run out is authorized again, and captured', async () => {
      const order = await life.placed(2, { card: 'tok_expires' });
      expect(order).toMatchObject({ status: 'confirmed', paymentStatus: 'authorized' });
      await life.ship(order);
      expect(await untilPaymentStatus(order, 'captured')).toMatchObject({ status: 'shipped' });
      expect(await life.payments(order)).toEqual([
        ['authorization', 'succeeded', 2000],
        ['capture', 'failed', 2000],
        ['authorization', 'succeeded', 2000],
        ['capture', 'succeeded', 2000],
      ]);
      expect(await life.intents(order)).toMatchObject([
        { status: 'expired', captured: 0 },
        { status: 'captured', captured: 2000 },
      ]);
      expect((await life.mails(order)).filter((subject) => subject.includes('We have'))).toHaveLength(1);
    });

    test('tok_expires, shipped in parts: authorized again once, for all that is to be shipped', async () => {
      const order = await life.placed(3, { card: 'tok_expires' });
      await life.shipUnits(order, 1);
      await untilPaymentStatus(order, 'partially_captured');
      await life.shipUnits(order, 1);
      await life.cancel(order);
      expect(await untilPaymentStatus(order, 'captured')).toMatchObject({ status: 'shipped' });
      expect((await life.intents(order)).map(({ status, captured }) => [status, captured])).toEqual([
        ['expired', 0],
        ['captured', 2000],
      ]);
      expect(await life.moved(order, 'capture')).toEqual([1000, 1000]);
    });

    test('tok_expires, two parcels at once: authorized again once, and nothing stays held', async () => {
      const order = await life.placed(2, { card: 'tok_expires' });
      await Promise.all([life.shipUnits(order, 1), life.shipUnits(order, 1)]);
      await untilPaymentStatus(order, 'captured');
      const held = (await life.intents(order)).filter(({ status }) => status === 'authorized');
      expect(held).toEqual([]);
      const captured = await life.moved(order, 'capture');
      expect(captured.reduce((sum, amount) => sum + amount, 0)).toBe(2000);
    });

    test('tok_expires, refunded: the money comes from where it was captured', async () => {
      const order = await life.delivered(2, { card: 'tok_expires' });
      expect(await life.refund(order, { amount: 1500 })).toMatchObject({ status: 201 });
      await untilPaymentStatus(order, 'partially_refunded');
      expect((await life.intents(order)).map(({ refunded }) => refunded)).toEqual([0, 1500]);
    });

    test('tok_expires, cancelled: voided', async () => {
      const order = await life.placed(1, { card: 'tok_expires' });
      await life.cancel(order);
      await expectCancelledAndVoided(order);
    });

    test('cancelled before anything ships: voided', async () => {
      const order = await life.placed(2);
      const cancelled = await life.cancel(order);
      expect(cancelled).toMatchObject({
        status: 200,
        body: { status: 'cancelled', paymentStatus: 'voided' },
      });
      await expectCancelledAndVoided(order);
      expect(await life.result(order)).toMatchObject({ status: 'cancelled', paymentStatus: 'voided' });
    });

    test('cancelled unit by unit: voided with the last one', async () => {
      const order = await life.placed(2);
      const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
      expect((await life.cancel(order, { lines })).body).toMatchObject({ status: 'confirmed' });
      expect((await life.cancel(order, { lines })).body).toMatchObject({ status: 'cancelled' });
      expect(await life.result(order)).toMatchObject({ status: 'cancelled', paymentStatus: 'voided' });
      expect(await life.payments(order)).toEqual([
        ['authorization', 'succeeded', 2000],
        ['void', 'succeeded', 2000],
      ]);
    });

    test('a part of it costs nothing: shipping that part captures nothing, cancelling the rest voids', async () => {
      const [free, dear] = [await life.goods(10, 0), await life.goods(10, 700)] as const;
      const { body: order } = await life.place([
        { sku: free, quantity: 1 },
        { sku: dear, quantity: 1 },
      ]);
      await life.shipUnits(order, 1, 0);
      expect(await life.read(order)).toMatchObject({
        status: 'partially_shipped',
        paymentStatus: 'authorized',
      });
      await life.cancel(order);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', paymentStatus: 'voided' });
      expect(await life.intents(order)).toMatchObject([{ status: 'voided', captured: 0 }]);
    });
  });

  describe('refunds', () => {
    test('partially_refunded, then refunded, never more than was captured', async () => {
      const order = await life.delivered(3);
      const first = await life.refund(order, { amount: 1000, reason: 'a scratch' });
      expect(first).toMatchObject({
        status: 201,
        body: { type: 'refund', status: 'succeeded', amount: 1000, currency: 'USD', reason: 'a scratch' },
      });
      expect(await life.read(order)).toMatchObject({
        status: 'delivered',
        paymentStatus: 'partially_refunded',
      });
      expectProblem(await life.refund(order, { amount: 2001 }), 409, 'refund_exceeds_captured');
      expect((await life.refund(order, { amount: 2000 })).status).toBe(201);
      expect((await life.read(order)).paymentStatus).toBe('refunded');
      expectProblem(await life.refund(order, { amount: 1 }), 409, 'refund_exceeds_captured');
      expect(await life.moved(order, 'refund')).toEqual([1000, 2000]);
      expect(await life.intents(order)).toMatchObject([{ captured: 3000, refunded: 3000 }]);
      expect((await life.events(order)).filter((type) => type === 'payment.refunded')).toHaveLength(2);
    });

    test('ten at once: exactly as many as fit', async () => {
      const order = await life.delivered(1);
      const answers = await times(10, () => life.refund(order, { amount: 300 }));
      const statuses = answers.map(({ status }) => status);
      expect(statuses.filter((status) => status === 201)).toHaveLength(3);
      for (const answer of answers.filter(({ status }) => status !== 201)) {
        expectProblem(answer, 409, 'refund_exceeds_captured');
      }
      await untilPaymentStatus(order, 'partially_refunded');
      expect(await life.moved(order, 'refund')).toEqual([300, 300, 300]);
    });

    test('an Idempotency-Key refunds once, also ten at once, and refuses another amount', async () => {
      const order = await life.delivered(3);
      const key = { 'idempotency-key': 'refund once' };
      const answers = await times(10, () => life.refund(order, { amount: 1000 }, key));
      expect(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1);
      const again = await life.refund(order, { amount: 1000 }, key);
      expect(again).toMatchObject({ status: 201, body: { id: answers[0]!.body.id, status: 'succeeded' } });
      expect(again.headers.get('idempotent-replayed')).toBe('true');
      expectProblem(await life.refund(order, { amount: 999 }, key), 422, 'idempotency_key_reused');
      expect(await life.moved(order, 'refund')).toEqual([1000]);
      const another = await life.delivered(1);
      expect((await life.refund(another, { amount: 1000 }, key)).status).toBe(201);
      for (const id of [order.number, order.number.toLowerCase(), order.id.toUpperCase()]) {
        const named = await life.refund({ ...order, id }, { amount: 1000 }, key);
        expect(named).toMatchObject({ status: 201, body: { id: again.body.id } });
      }
      expect(await life.moved(order, 'refund')).toEqual([1000]);
    });

    test('before anything is captured: 409', async () => {
      const order = await life.placed(1);
      expectProblem(await life.refund(order, { amount: 1 }), 409, 'refund_exceeds_captured');
      const rejected = await life.placed(1, { card: 'tok_declined' });
      expectProblem(await life.refund(rejected, { amount: 1 }), 409, 'refund_exceeds_captured');
      const cancelled = await life.placed(1);
      await life.cancel(cancelled);
      expectProblem(await life.refund(cancelled, { amount: 1 }), 409, 'refund_exceeds_captured');
    });

    test('while the order goes on: of what was captured so far', async () => {
      const order = await life.placed(2);
      await life.shipUnits(order, 1);
      expectProblem(await life.refund(order, { amount: 1001 }), 409, 'refund_exceeds_captured');
      expect((await life.refund(order, { amount: 400 })).status).toBe(201);
      await life.deliver((await life.shipUnits(order, 1)).body);
      for (const { id } of (await life.read(order)).shipments) {
        await life.api.request('POST', `/v1/shipments/${id}/deliver`, { token: life.stack.tokens.staff });
      }
      expect(await life.result(order)).toMatchObject({
        status: 'delivered',
        paymentStatus: 'partially_refunded',
      });
      expect(await life.moved(order, 'capture')).toEqual([1000, 1000]);
    });

    test('after the order has ended it runs as a workflow of its own, which completes', async () => {
      const order = await life.delivered(1);
      expect(await life.result(order)).toMatchObject({ status: 'delivered' });
      const { body } = await life.refund(order, { amount: 1000 }, { prefer: 'respond-async' });
      expect(body).toMatchObject({ type: 'refund', amount: 1000 });
      const handle = life.workflow({ workflowId: `refund-${body.id}` });
      expect(await handle.result()).toBe('refunded');
      expect(await handle.describe()).toMatchObject({ type: 'refund', status: { name: 'COMPLETED' } });
      expect((await life.paymentList(order)).at(-1)).toMatchObject({ id: body.id, status: 'succeeded' });
      expect((await life.read(order)).paymentStatus).toBe('refunded');
    });

    test('a refund whose workflow was terminated is taken up when the request is repeated', async () => {
      const order = await life.delivered(1);
      const key = { 'idempotency-key': randomUUID(), prefer: 'respond-async' };
      const { body } = await life.refund(order, { amount: 1000 }, key);
      await life
        .workflow({ workflowId: `refund-${body.id}` })
        .terminate('by a test')
        .catch(() => undefined);
      await life.refund(order, { amount: 1000 }, { 'idempotency-key': key['idempotency-key'] });
      await untilPaymentStatus(order, 'refunded');
      expect(await life.moved(order, 'refund')).toEqual([1000]);
    });

    test('only sensible ones, by staff, of an order as they know it', async () => {
      const order = await life.delivered(1);
      for (const body of [
        { amount: 0 },
        { amount: -5 },
        { amount: 1.5 },
        { amount: '5' },
        { amount: 5, reason: '' },
        { amount: 5, reason: undefined },
        { amount: 5, currency: 'EUR' },
      ]) {
        expectProblem(await life.refund(order, body), 422, 'validation_failed');
      }
      const { john } = life.stack.tokens;
      const byCustomer = await life.api.request('POST', `/v1/orders/${order.id}/refunds`, {
        token: john,
        body: { amount: 5, reason: 'mine' },
      });
      expectProblem(byCustomer, 403, 'forbidden');
      expectProblem(await life.refund({ ...order, id: randomUUID() }, { amount: 5 }), 404, 'not_found');
      const stale = await life.refund(order, { amount: 5 }, { 'if-match': '"0"' });
      expectProblem(stale, 412, 'version_conflict');
      const fresh = await life.refund(order, { amount: 5 }, { 'if-match': `"${order.version}"` });
      expect(fresh.status).toBe(201);
      expect(await life.moved(order, 'refund')).toEqual([5]);
    });
  });

  describe('the list of payments', () => {
    test('is read by the customer and by staff, and by nobody else', async () => {
      const order = await life.placed(1);
      const { john, jane, staff } = life.stack.tokens;
      const list = (token?: string) =>
        life.api.request('GET', `/v1/orders/${order.id}/payments`, token === undefined ? {} : { token });
      const mine = await list(john);
      expect(mine).toMatchObject({ status: 200, body: { data: [{ type: 'authorization' }] } });
      expect((await list(staff)).body).toEqual(mine.body);
      expectProblem(await list(jane), 404, 'not_found');
      expectProblem(await list(), 401, 'unauthenticated');
      const byNumber = await life.api.request('GET', `/v1/orders/${order.number}/payments`, { token: john });
      expect(byNumber.body).toEqual(mine.body);
    });

    test('of an order without stock is empty', async () => {
      const sku = await life.goods(1);
      const { body } = await life.place([{ sku, quantity: 2 }]);
      expect(body.status).toBe('rejected');
      expect(await life.paymentList(body)).toEqual([]);
    });
  });
});

describe('not paid in time', () => {
  onPlatform(begin, { PAYMENT_TIMEOUT_SECONDS: '4' });

  test('cancelled, the stock is back, nothing stays held, the customer is told', async () => {
    const order = await life.placed(2, { card: 'tok_async' });
    expect(order.status).toBe('awaiting_payment');
    await expectCancelledAndVoided(order);
    expect(await life.read(order)).toMatchObject({
      cancellation: { reason: 'payment_timeout', by: 'system' },
      lines: [{ cancelledQuantity: 2 }],
    });
    expect(await life.result(order)).toEqual({
      orderId: order.id,
      status: 'cancelled',
      paymentStatus: 'voided',
      reason: 'payment_timeout',
    });
    expect(await life.mails(order)).toEqual(['The payment for your order # did not go through']);
  });

  test('authorized in time: the timer has no effect', async () => {
    const order = await life.placed(1, { card: 'tok_async' });
    await life.paymentWebhook('payment.authorized', await life.paymentId(order));
    await expectConfirmedOnce(order);
    const late = await life.placed(1, { card: 'tok_async' });
    await expectCancelledAndVoided(late);
    await expectConfirmedOnce(order);
  });

  test('authorized afterwards: it stays cancelled, and is voided once', async () => {
    const order = await life.placed(1, { card: 'tok_async' });
    await expectCancelledAndVoided(order);
    const paymentId = await life.paymentId(order);
    expect((await life.paymentWebhook('payment.authorized', paymentId)).status).toBe(200);
    expect(await life.workflow({ workflowId: `refund-${paymentId}` }).result()).toBe('voided');
    await expectCancelledAndVoided(order);
  });

  test('authorized at the very moment: either confirmed or cancelled, never half of it', async () => {
    const orders = await times(10, () => life.placed(1, { card: 'tok_async' }));
    const outcomes = await Promise.all(
      orders.map(async (order, index) => {
        const paymentId = await life.paymentId(order);
        const { rows } = await sql<{ payBy: Date }>`
          select pay_by as "payBy" from ordering.orders where id = ${order.id}
        `.execute(life.stack.db);
        const moment = rows[0]!.payBy.getTime() + (index - 5) * 20;
        await eventually('the very moment', () => Date.now() >= moment - 50);
        expect((await life.paymentWebhook('payment.authorized', paymentId)).status).toBe(200);
        return await eventually('it is decided', async () => {
          const { status } = await life.read(order);
          return status !== 'awaiting_payment' && status;
        });
      }),
    );
    for (const [index, order] of orders.entries()) {
      if (outcomes[index] === 'confirmed') await expectConfirmedOnce(order);
      else await expectCancelledAndVoided(order);
    }
  });

  test('its workflow was terminated and goes on: the time that was promised still ends', async () => {
    const order = await life.placed(1, { card: 'tok_async' });
    await life.workflow(order).terminate('by a test');
    const changed = await life.api.request('PATCH', `/v1/orders/${order.id}`, {
      token: life.stack.tokens.john,
      body: { note: 'are you there?' },
    });
    expect(changed.status).toBe(200);
    await expectCancelledAndVoided(order);
    expect((await life.read(order)).cancellation).toMatchObject({ reason: 'payment_timeout' });
  });
});

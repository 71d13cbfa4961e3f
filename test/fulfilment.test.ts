import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { costOf } from '../bench/histories.ts';
import type { Order, Shipment } from '../domain/order.ts';
import { address } from './harness/http.ts';
import { onPlatform, type OrderLife, statusesOf, times } from './harness/order-life.ts';
import { expectProblem } from './harness/problems.ts';
import { eventually } from './harness/wait.ts';

let life: OrderLife;

const begin = (started: OrderLife) => {
  life = started;
};

const CARRIERS = '/v1/carriers/mock/webhook';

const shipped = async (quantity = 1): Promise<{ order: Order; shipment: Shipment }> => {
  const order = await life.placed(quantity);
  const { body: shipment } = await life.ship(order);
  return { order, shipment };
};

const find = async ({ id }: Shipment, token = life.stack.tokens.staff): Promise<Shipment> =>
  (await life.api.request<Shipment>('GET', `/v1/shipments/${id}`, { token })).body;

const patch = (
  { id }: Shipment,
  body: object,
  headers: Record<string, string> = {},
  token = life.stack.tokens.staff,
) => life.api.request<Shipment>('PATCH', `/v1/shipments/${id}`, { token, body, headers });

const patchOrder = ({ id }: Order, body: object) =>
  life.api.request<Order>('PATCH', `/v1/orders/${id}`, { token: life.stack.tokens.john, body });

const stations = ({ events }: Shipment): string[] => events.map(({ status }) => status);

const DELIVERED_ONCE = ['shipment.created', 'payment.captured', 'shipment.delivered'];
const fulfilmentEvents = async (order: Order): Promise<string[]> =>
  (await life.events(order)).filter((type) => DELIVERED_ONCE.includes(type));

describe('fulfilment', () => {
  onPlatform(begin);

  describe('shipping', () => {
    test('a whole order: it leaves the stock, and the carrier has a booking', async () => {
      const sku = await life.goods(10, 1500);
      const { body: order } = await life.place([{ sku, quantity: 3 }]);
      const answer = await life.ship(order);
      expect(answer.status).toBe(201);
      expect(answer.headers.get('location')).toBe(`/v1/shipments/${answer.body.id}`);
      expect(answer.body).toEqual({
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        orderId: order.id,
        carrier: 'UPS',
        trackingNumber: expect.stringMatching(/^MOCK[0-9A-F]{12}$/),
        status: 'created',
        lines: [{ lineId: order.lines[0]!.id, quantity: 3 }],
        events: [{ status: 'created', at: expect.stringMatching(/Z$/) }],
        createdAt: expect.stringMatching(/Z$/),
      });
      expect(await find(answer.body)).toEqual(answer.body);
      expect(await life.read(order)).toMatchObject({
        status: 'shipped',
        paymentStatus: 'captured',
        lines: [{ shippedQuantity: 3, cancelledQuantity: 0 }],
        shipments: [answer.body],
      });
      expect(await life.stockOf(sku)).toEqual({ onHand: 7, reserved: 0 });
      expect(await life.movements(order)).toEqual([
        ['reservation', 3],
        ['shipment', 3],
      ]);
      const { id, trackingNumber } = answer.body;
      expect(await life.bookings(order)).toEqual([{ id, trackingNumber, status: 'booked' }]);
    });

    test('in parts, by line and by quantity, each under its own tracking number', async () => {
      const [one, other] = [await life.goods(10, 1000), await life.goods(10, 200)] as const;
      const { body: order } = await life.place([
        { sku: one, quantity: 2 },
        { sku: other, quantity: 3 },
      ]);
      const [first, second] = order.lines.map(({ id }) => id) as [string, string];
      const lines = [
        { lineId: first, quantity: 1 },
        { lineId: second, quantity: 2 },
      ];
      const { body: parcel } = await life.ship(order, { carrier: 'DHL', trackingNumber: 'JD0001', lines });
      expect(parcel).toMatchObject({ carrier: 'DHL', trackingNumber: 'JD0001', lines });
      expect(await life.read(order)).toMatchObject({
        status: 'partially_shipped',
        lines: [{ shippedQuantity: 1 }, { shippedQuantity: 2 }],
      });
      expect(await life.stockOf(one)).toEqual({ onHand: 9, reserved: 1 });
      expect(await life.stockOf(other)).toEqual({ onHand: 8, reserved: 1 });

      await life.ship(order, { lines: [{ lineId: second, quantity: 1 }] });
      const { body: last } = await life.ship(order);
      expect(last.lines).toEqual([{ lineId: first, quantity: 1 }]);
      const now = await life.read(order);
      expect(now).toMatchObject({
        status: 'shipped',
        lines: [{ shippedQuantity: 2 }, { shippedQuantity: 3 }],
      });
      expect(now.shipments.map(({ id }) => id)).toEqual((await life.bookings(order)).map(({ id }) => id));
      expect(now.shipments).toHaveLength(3);
      expect(new Set(now.shipments.map(({ trackingNumber }) => trackingNumber)).size).toBe(3);
      expect((await life.bookings(order))[0]).toMatchObject({ trackingNumber: 'JD0001', status: 'booked' });
      expect(await life.stockOf(one)).toEqual({ onHand: 8, reserved: 0 });
    });

    test('more units than are left: 409, an unknown line: 422, and nothing ships', async () => {
      const order = await life.placed(2);
      const { id: lineId } = order.lines[0]!;
      expectProblem(await life.shipUnits(order, 3), 409, 'not_enough_units');
      const twice = [
        { lineId, quantity: 1 },
        { lineId, quantity: 2 },
      ];
      expectProblem(await life.ship(order, { lines: twice }), 409, 'not_enough_units');
      const unknown = await life.ship(order, {
        lines: [
          { lineId, quantity: 1 },
          { lineId: randomUUID(), quantity: 1 },
        ],
      });
      expectProblem(unknown, 422, 'validation_failed', '/lines/1/lineId');
      await life.shipUnits(order, 1);
      expectProblem(await life.shipUnits(order, 2), 409, 'not_enough_units');
      await life.cancel(order, { lines: [{ lineId, quantity: 1 }] });
      expectProblem(await life.ship(order, { carrier: 'DHL' }), 409, 'invalid_transition');
      const now = await life.read(order);
      expect(now.shipments).toHaveLength(1);
      const booked = (await life.bookings(order)).filter(({ status }) => status === 'booked');
      expect(booked.map(({ id }) => id)).toEqual(now.shipments.map(({ id }) => id));
    });

    test('one line named twice is one line of the parcel', async () => {
      const order = await life.placed(3);
      const { id: lineId } = order.lines[0]!;
      const lines = [
        { lineId, quantity: 1 },
        { lineId: lineId.toUpperCase(), quantity: 1 },
      ];
      expect((await life.ship(order, { lines })).body).toMatchObject({ lines: [{ lineId, quantity: 2 }] });
    });

    test('only what can be read, by staff, of an order there is', async () => {
      const order = await life.placed(1);
      const { id: lineId } = order.lines[0]!;
      for (const body of [
        { carrier: '' },
        { carrier: '  ' },
        { carrier: 7 },
        { carrier: undefined },
        { trackingNumber: '' },
        { lines: [] },
        { lines: [{ lineId, quantity: 0 }] },
        { lines: [{ lineId, quantity: 1.5 }] },
        { lines: [{ lineId: 'first', quantity: 1 }] },
        { weight: 7 },
      ]) {
        expectProblem(await life.ship(order, body), 422, 'validation_failed');
      }
      const { john } = life.stack.tokens;
      const path = `/v1/orders/${order.id}/shipments`;
      const byCustomer = await life.api.request('POST', path, { token: john, body: { carrier: 'UPS' } });
      expectProblem(byCustomer, 403, 'forbidden');
      expectProblem(await life.api.request('POST', path, { body: { carrier: 'UPS' } }), 401);
      expectProblem(await life.ship({ ...order, id: randomUUID() }), 404, 'not_found');
      expect((await life.read(order)).shipments).toEqual([]);
    });

    test('what is rejected or cancelled does not ship: 409', async () => {
      const rejected = await life.placed(1, { card: 'tok_declined' });
      expectProblem(await life.ship(rejected), 409, 'invalid_transition');
      const cancelled = await life.placed(1);
      await life.cancel(cancelled);
      const answer = await life.ship(cancelled);
      expectProblem(answer, 409, 'invalid_transition');
      expect(answer.body).toMatchObject({ currentStatus: 'cancelled' });
    });

    test('If-Match: only the order that the sender has seen', async () => {
      const order = await life.placed(2);
      await patchOrder(order, { note: 'fragile' });
      const stale = await life.ship(order, {}, { 'if-match': `"${order.version}"` });
      expectProblem(stale, 412, 'version_conflict');
      expectProblem(await life.ship(order, {}, { 'if-match': '1' }), 400, 'invalid_header');
      const { version } = await life.read(order);
      const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
      const answers = await times(5, () => life.ship(order, { lines }, { 'if-match': `"${version}"` }));
      expect(statusesOf(answers)).toEqual([201, 412, 412, 412, 412]);
      const now = await life.read(order);
      expect(now).toMatchObject({ status: 'partially_shipped', lines: [{ shippedQuantity: 1 }] });
      const booked = (await life.bookings(order)).filter(({ status }) => status === 'booked');
      expect(booked).toHaveLength(1);
      expect((await life.ship(order, {}, { 'if-match': `"${now.version}"` })).status).toBe(201);
    });

    test('the same Idempotency-Key: one parcel, also ten at once, and another body is refused', async () => {
      const order = await life.placed(30);
      const lines = [{ lineId: order.lines[0]!.id, quantity: 2 }];
      const key = { 'idempotency-key': 'ship once' };
      const answers = await times(10, () => life.ship(order, { lines }, key));
      expect(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1);
      const again = await life.ship(order, { lines }, key);
      expect(again).toMatchObject({ status: 201, body: { id: answers[0]!.body.id } });
      expect(again.headers.get('idempotent-replayed')).toBe('true');
      expectProblem(await life.ship(order, { carrier: 'DHL', lines }, key), 422, 'idempotency_key_reused');
      const named = await life.ship({ ...order, id: order.number }, { lines }, key);
      expect(named).toMatchObject({ status: 201, body: { id: again.body.id } });
      expect(await life.read(order)).toMatchObject({
        shipments: [{ lines }],
        lines: [{ shippedQuantity: 2 }],
      });
      expect(await life.bookings(order)).toHaveLength(1);
      expect(await life.moved(order, 'capture')).toEqual([2000]);
    });

    test('again when all is shipped: the same request gives the same parcel, another one 409', async () => {
      const { order, shipment } = await shipped(2);
      const expectSame = async (body: object) =>
        expect(await life.ship(order, body)).toMatchObject({ status: 200, body: { id: shipment.id } });
      const lines = [{ lineId: order.lines[0]!.id, quantity: 2 }];
      await expectSame({});
      await expectSame({ lines });
      await expectSame({ trackingNumber: shipment.trackingNumber });
      expectProblem(await life.ship(order, { carrier: 'DHL' }), 409, 'invalid_transition');
      expectProblem(await life.ship(order, { trackingNumber: 'X1' }), 409, 'invalid_transition');
      expectProblem(await life.shipUnits(order, 1), 409, 'invalid_transition');
      await life.deliver(shipment);
      expect((await life.result(order)).status).toBe('delivered');
      await expectSame({});
      expectProblem(await life.ship(order, { carrier: 'DHL' }), 409, 'invalid_transition');
      expect((await life.read(order)).shipments).toHaveLength(1);
      expect(await life.moved(order, 'capture')).toEqual([2000]);
    });

    test('ten times at once without a key: one parcel', async () => {
      const order = await life.placed(2);
      const answers = await times(10, () => life.ship(order));
      expect(statusesOf(answers)).toEqual([...Array<number>(9).fill(200), 201]);
      expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
      expect(await life.read(order)).toMatchObject({ status: 'shipped', lines: [{ shippedQuantity: 2 }] });
      const booked = (await life.bookings(order)).filter(({ status }) => status === 'booked');
      expect(booked.map(({ id }) => id)).toEqual([answers[0]!.body.id]);
    });

    test('an order whose workflow was terminated ships: it goes on from its row', async () => {
      const order = await life.placed(1);
      await life.workflow(order).terminate('by a test');
      expect((await life.ship(order)).status).toBe(201);
      expect(await life.events(order)).toContain('workflow.restarted');
      await life.deliver((await life.read(order)).shipments[0]!);
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
    });
  });

  describe('on its way', () => {
    test('PATCH tells the stations, never backwards, and the tracking number', async () => {
      const { order, shipment } = await shipped();
      expect((await patch(shipment, { status: 'in_transit' })).body).toMatchObject({ status: 'in_transit' });
      const out = await patch(shipment, { status: 'out_for_delivery', trackingNumber: 'NEW-1' });
      expect(out).toMatchObject({
        status: 200,
        body: { status: 'out_for_delivery', trackingNumber: 'NEW-1' },
      });
      expect(stations(out.body)).toEqual(['created', 'in_transit', 'out_for_delivery']);
      const { version } = await life.read(order);
      expect((await patch(shipment, { status: 'out_for_delivery' })).body).toEqual(out.body);
      expectProblem(await patch(shipment, { status: 'in_transit' }), 409, 'invalid_transition');
      expect(await life.read(order)).toMatchObject({ status: 'shipped', version });
      const arrived = await patch(shipment, { status: 'delivered' });
      expect(stations(arrived.body)).toEqual(['created', 'in_transit', 'out_for_delivery', 'delivered']);
      expect(await life.read(order)).toMatchObject({ status: 'delivered' });
      expectProblem(await patch(shipment, { status: 'in_transit' }), 409, 'invalid_transition');
      const updates = (await life.events(order)).filter((type) => type.startsWith('shipment.'));
      expect(updates).toEqual([
        'shipment.created',
        'shipment.updated',
        'shipment.updated',
        'shipment.delivered',
      ]);
    });

    test('PATCH with the arrival and the tracking number in one', async () => {
      const { order, shipment } = await shipped();
      const { version } = await life.read(order);
      const headers = { 'if-match': `"${version}"` };
      const answer = await patch(shipment, { status: 'delivered', trackingNumber: 'LATE-1' }, headers);
      expect(answer).toMatchObject({ status: 200, body: { status: 'delivered', trackingNumber: 'LATE-1' } });
      expect(await life.read(order)).toMatchObject({ status: 'delivered' });
    });

    test('PATCH takes only what can be read, by staff; the customer reads, nobody else does', async () => {
      const { order, shipment } = await shipped();
      const { john, jane } = life.stack.tokens;
      for (const body of [{}, { status: 'created' }, { status: 'lost' }, { trackingNumber: '' }, { to: 1 }]) {
        expectProblem(await patch(shipment, body), 422, 'validation_failed');
      }
      expectProblem(await patch(shipment, { status: 'in_transit' }, {}, john), 403, 'forbidden');
      expectProblem(await patch({ ...shipment, id: randomUUID() }, { status: 'in_transit' }), 404);
      expectProblem(
        await patch(shipment, { status: 'in_transit' }, { 'if-match': `"${order.version}"` }),
        412,
        'version_conflict',
      );
      expect(await find(shipment, john)).toEqual(shipment);
      const foreign = await life.api.request('GET', `/v1/shipments/${shipment.id}`, { token: jane });
      expectProblem(foreign, 404, 'not_found');
      const byCustomer = await life.api.request('POST', `/v1/shipments/${shipment.id}/deliver`, {
        token: john,
      });
      expectProblem(byCustomer, 403, 'forbidden');
    });
  });

  describe('delivery', () => {
    test('by staff: delivered, and the workflow ends with its result; three mails were sent', async () => {
      const { order, shipment } = await shipped(2);
      const answer = await life.deliver(shipment);
      expect(answer).toMatchObject({ status: 200, body: { id: shipment.id, status: 'delivered' } });
      expect(await life.result(order)).toEqual({
        orderId: order.id,
        status: 'delivered',
        paymentStatus: 'captured',
      });
      expect((await life.workflow(order).describe()).status.name).toBe('COMPLETED');
      expect(await life.events(order)).toEqual([
        'order.placed',
        'stock.reserved',
        'payment.authorized',
        'order.confirmed',
        'shipment.created',
        'payment.captured',
        'shipment.delivered',
      ]);
      expect(await life.mails(order)).toEqual([
        'We have your order #',
        'Your order # has arrived',
        'Your order # is on its way',
      ]);
    });

    test("by the carrier's webhook, also twice and ten at once: delivered once", async () => {
      const { order, shipment } = await shipped();
      const tell = (status: string) => life.carrierWebhook(shipment.trackingNumber!, status);
      expect(await tell('in_transit')).toMatchObject({ status: 200, body: { received: true } });
      expect((await tell('in_transit')).status).toBe(200);
      const answers = await times(10, () => tell('delivered'));
      expect(statusesOf(answers)).toEqual(Array(10).fill(200));
      expect((await tell('delivered')).status).toBe(200);
      expect(stations(await find(shipment))).toEqual(['created', 'in_transit', 'delivered']);
      expect(await life.result(order)).toMatchObject({ status: 'delivered' });
      expect(await fulfilmentEvents(order)).toEqual(DELIVERED_ONCE);
      expect(await life.mails(order)).toHaveLength(3);
    });

    test('webhooks out of order, and of a parcel nobody knows: 200, and no effect', async () => {
      const { order, shipment } = await shipped();
      for (const status of [
        'out_for_delivery',
        'in_transit',
        'delivered',
        'out_for_delivery',
        'in_transit',
      ]) {
        expect((await life.carrierWebhook(shipment.trackingNumber!, status)).status).toBe(200);
      }
      expect(stations(await find(shipment))).toEqual(['created', 'out_for_delivery', 'delivered']);
      const before = await life.read(order);
      expect((await life.carrierWebhook('NOBODYS-1', 'delivered')).status).toBe(200);
      expect(await life.read(order)).toEqual(before);
    });

    test('webhooks that are not what they should be', async () => {
      const { order, shipment } = await shipped();
      const { trackingNumber } = shipment;
      const raw = JSON.stringify({ type: 'shipment.updated', data: { trackingNumber, status: 'delivered' } });
      expectProblem(await life.webhook(CARRIERS, raw, {}), 401, 'invalid_signature');
      expectProblem(await life.webhook(CARRIERS, raw, life.sign('{}')), 401, 'invalid_signature');
      expectProblem(await life.webhook('/v1/carriers/nobody/webhook', raw), 404, 'not_found');
      for (const garbage of [
        '',
        'x',
        '{}',
        '{"type": "shipment.updated", "data": {}}',
        raw.replace('delivered', 'lost'),
        raw.replace(trackingNumber!, String.raw`nul \u0000 in it`),
        raw.replace(`"${trackingNumber}"`, '7'),
      ]) {
        expectProblem(await life.webhook(CARRIERS, garbage), 422, 'validation_failed');
      }
      expect((await life.read(order)).status).toBe('shipped');
    });

    test('by the operator: temporal workflow update execute, with the bodies of HTTP', async () => {
      const order = await life.placed(3);
      const { id: lineId } = order.lines[0]!;
      const first = { carrier: 'UPS', trackingNumber: 'OP-1', lines: [{ lineId, quantity: 1 }] };
      const shipment = JSON.parse(await life.update(order.workflowId, 'ship', first, '-o', 'json'));
      expect(shipment.result).toMatchObject({
        orderId: order.id,
        status: 'partially_shipped',
        paymentStatus: 'partially_captured',
        shipmentId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      });
      await life.update(order.workflowId, 'ship', { carrier: 'DHL' });
      const now = await life.read(order);
      expect(now.shipments).toMatchObject([
        { id: shipment.result.shipmentId, trackingNumber: 'OP-1', lines: first.lines },
        { carrier: 'DHL', lines: [{ lineId, quantity: 2 }] },
      ]);
      await life.update(order.workflowId, 'deliver', { shipmentId: now.shipments[1]!.id });
      expect((await life.read(order)).status).toBe('shipped');
      await life.update(order.workflowId, 'deliver');
      expect(await life.result(order)).toEqual({
        orderId: order.id,
        status: 'delivered',
        paymentStatus: 'captured',
      });
      const { body } = await life.api.request('GET', `/v1/orders/${order.id}/events?limit=100`, {
        token: life.stack.tokens.staff,
      });
      const actors = (body.data as { type: string; actor: string }[])
        .filter(({ type }) => type.startsWith('shipment.'))
        .map(({ actor }) => actor);
      expect(new Set(actors)).toEqual(new Set(['temporal-update']));
    });

    test('the operator hears what is forbidden, before it is in the history', async () => {
      const order = await life.placed(1);
      const handle = life.workflow(order);
      const refused = async (name: string, input: unknown, type: string) =>
        expect(handle.executeUpdate(name, { args: [input] })).rejects.toMatchObject({ cause: { type } });
      await refused('deliver', {}, 'invalid_transition');
      await refused('ship', {}, 'validation_failed');
      await refused('ship', { carrier: 'UPS', lines: [{ lineId: 'x', quantity: 1 }] }, 'validation_failed');
      await refused('ship', { carrier: 'UPS', lines: 'all' }, 'validation_failed');
      await refused('ship', undefined, 'validation_failed');
      await refused('deliver', { shipmentId: 'x' }, 'validation_failed');
      const { events } = await handle.fetchHistory();
      const accepted = events?.filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes);
      expect(accepted).toEqual([]);
      await life.ship(order);
      await refused('changeShippingAddress', { note: 'too late' }, 'invalid_transition');
      await refused('cancel', {}, 'already_shipped');
      await refused('deliver', { shipmentId: randomUUID() }, 'not_found');
      expect((await life.read(order)).status).toBe('shipped');
    });

    test('the shipment of another order stays as it is, also where both name one at the same moment', async () => {
      const [other, order] = [await life.placed(1), await life.placed(1)];
      const shipment = await life.ship(other, { carrier: 'UPS', trackingNumber: 'OTHERS' });
      const { id: shipmentId } = shipment.body;
      const input = { carrier: 'DHL', trackingNumber: 'OWN', shipmentId };
      const refused = life.workflow(order).executeUpdate('ship', { args: [input] });
      await expect(refused).rejects.toMatchObject({ cause: { type: 'validation_failed' } });
      expect((await life.read(other)).shipments).toMatchObject([
        { id: shipmentId, trackingNumber: 'OTHERS' },
      ]);
      expect(await life.read(order)).toMatchObject({ status: 'confirmed', shipments: [] });
      expect((await life.ship(order)).status).toBe(201);

      const rivals = await times(8, () => life.placed(1));
      const same = { carrier: 'UPS', shipmentId: randomUUID() };
      const answers = await Promise.allSettled(
        rivals.map((rival) => life.workflow(rival).executeUpdate('ship', { args: [same] })),
      );
      expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const states = (await Promise.all(rivals.map((rival) => life.read(rival)))).map(
        ({ status, shipments }) => `${status}, ${shipments.length}`,
      );
      expect(states.toSorted()).toEqual([...Array(7).fill('confirmed, 0'), 'shipped, 1']);
    });

    test('the order is delivered only when every unit that was not cancelled is', async () => {
      const order = await life.placed(3);
      const { body: first } = await life.shipUnits(order, 1);
      await life.deliver(first);
      expect(await life.read(order)).toMatchObject({ status: 'partially_shipped' });
      const { body: second } = await life.shipUnits(order, 1);
      await life.deliver(second);
      expect(await life.read(order)).toMatchObject({ status: 'partially_shipped' });
      const { body: third } = await life.shipUnits(order, 1);
      expect(await life.read(order)).toMatchObject({ status: 'shipped' });
      await life.deliver(third);
      expect(await life.result(order)).toMatchObject({ status: 'delivered' });
    });

    test('all that was shipped has arrived, then the rest is cancelled: delivered', async () => {
      const order = await life.placed(2);
      await life.deliver((await life.shipUnits(order, 1)).body);
      expect(await life.cancel(order, { reason: 'enough' })).toMatchObject({
        status: 200,
        body: { status: 'delivered', paymentStatus: 'captured', lines: [{ cancelledQuantity: 1 }] },
      });
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
    });

    test('again: 200 without effect, also ten at once and with a key', async () => {
      const { order, shipment } = await shipped();
      const answers = await times(10, () => life.deliver(shipment));
      expect(statusesOf(answers)).toEqual(Array(10).fill(200));
      const before = [await life.read(order), await life.events(order)];
      const key = { 'idempotency-key': 'deliver once' };
      for (const headers of [{}, key, key]) {
        expect(await life.deliver(shipment, headers)).toMatchObject({
          status: 200,
          body: answers[0]!.body,
        });
      }
      expect([await life.read(order), await life.events(order)]).toEqual(before);
      expect(await fulfilmentEvents(order)).toEqual(DELIVERED_ONCE);
      expect(await life.mails(order)).toHaveLength(3);
    });

    test('two parcels at the same moment: delivered', async () => {
      const order = await life.placed(2);
      const parcels = [(await life.shipUnits(order, 1)).body, (await life.shipUnits(order, 1)).body];
      const answers = await Promise.all(parcels.map((parcel) => life.deliver(parcel)));
      expect(statusesOf(answers)).toEqual([200, 200]);
      expect(await life.result(order)).toMatchObject({ status: 'delivered' });
      expect(await life.mails(order)).toHaveLength(5);
    });

    test('If-Match on the arrival', async () => {
      const { order, shipment } = await shipped();
      const stale = await life.deliver(shipment, { 'if-match': `"${order.version}"` });
      expectProblem(stale, 412, 'version_conflict');
      const { version } = await life.read(order);
      expect((await life.deliver(shipment, { 'if-match': `"${version}"` })).status).toBe(200);
    });
  });

  describe('cancelling and shipping', () => {
    test('at the same instant: one wins, the other hears 409, in twenty rounds', async () => {
      const orders = await times(20, () => life.placed(2));
      for (const [index, order] of orders.entries()) {
        const ship = () => life.ship(order);
        const cancel = () => life.cancel(order);
        const [shipping, cancelling] =
          index % 2 === 0
            ? await Promise.all([ship(), cancel()])
            : (await Promise.all([cancel(), ship()])).toReversed();
        const now = await life.read(order);
        if (shipping!.status === 201) {
          expectProblem(cancelling!, 409, 'already_shipped');
          expect(now).toMatchObject({
            status: 'shipped',
            paymentStatus: 'captured',
            lines: [{ shippedQuantity: 2, cancelledQuantity: 0 }],
          });
          expect(await life.bookings(order)).toMatchObject([{ status: 'booked' }]);
        } else {
          expectProblem(shipping!, 409, 'invalid_transition');
          expect(cancelling!.status).toBe(200);
          expect(now).toMatchObject({
            status: 'cancelled',
            shipments: [],
            lines: [{ shippedQuantity: 0, cancelledQuantity: 2 }],
          });
          const standing = (await life.bookings(order)).filter(({ status }) => status === 'booked');
          expect(standing).toEqual([]);
          expect(await life.result(order)).toMatchObject({ status: 'cancelled', paymentStatus: 'voided' });
        }
      }
    });

    test('single units at the same instant as all of them: no unit is both', async () => {
      const orders = await times(10, () => life.placed(3));
      for (const order of orders) {
        const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
        const [shipping, cancelling] = await Promise.all([life.ship(order), life.cancel(order, { lines })]);
        expect(shipping.status).toBe(201);
        const now = await life.read(order);
        if (cancelling.status === 200) {
          expect(now).toMatchObject({
            status: 'shipped',
            paymentStatus: 'captured',
            lines: [{ shippedQuantity: 2, cancelledQuantity: 1 }],
          });
          expect(await life.moved(order, 'capture')).toEqual([2000]);
        } else {
          expectProblem(cancelling, 409, 'already_shipped');
          expect(now).toMatchObject({ lines: [{ shippedQuantity: 3, cancelledQuantity: 0 }] });
          expect(await life.moved(order, 'capture')).toEqual([3000]);
        }
      }
    });

    test('a ship command that loses after the carrier took the parcel gives the booking back', async () => {
      const order = await life.placed(2);
      const stale = await life.ship(order, {}, { 'if-match': '"0"' });
      expectProblem(stale, 412, 'version_conflict');
      expect(await life.bookings(order)).toMatchObject([{ status: 'cancelled' }]);
      expect((await life.ship(order)).status).toBe(201);
      expect((await life.bookings(order)).map(({ status }) => status)).toEqual(['cancelled', 'booked']);
    });

    test('the rest of a partly shipped order: what was shipped stays, and the order ends delivered', async () => {
      const order = await life.placed(3);
      const { body: parcel } = await life.shipUnits(order, 1);
      const cancelled = await life.cancel(order, { reason: 'no more' });
      expect(cancelled).toMatchObject({
        status: 200,
        body: {
          status: 'shipped',
          paymentStatus: 'captured',
          cancellation: { reason: 'no more' },
          lines: [{ shippedQuantity: 1, cancelledQuantity: 2 }],
        },
      });
      expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 99, reserved: 0 });
      expect((await life.cancel(order)).body).toEqual(cancelled.body);
      expect((await life.workflow(order).describe()).status.name).toBe('RUNNING');
      await life.deliver(parcel);
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
      const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
      expectProblem(await life.cancel(order, { lines }), 409, 'already_shipped');
    });

    test('temporal workflow cancel of a partly shipped order: the same, and of a shipped one no effect', async () => {
      const order = await life.placed(2);
      const { body: parcel } = await life.shipUnits(order, 1);
      await life.temporal('workflow', 'cancel', '-w', order.workflowId);
      await eventually('the rest is cancelled', async () => (await life.read(order)).status === 'shipped');
      await life.temporal('workflow', 'signal', '-w', order.workflowId, '--name', 'cancel');
      await life.deliver(parcel);
      expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
      expect(await life.read(order)).toMatchObject({
        lines: [{ shippedQuantity: 1, cancelledQuantity: 1 }],
      });

      const whole = await shipped();
      await life.temporal('workflow', 'cancel', '-w', whole.order.workflowId);
      await life.deliver(whole.shipment);
      expect(await life.result(whole.order)).toEqual({
        orderId: whole.order.id,
        status: 'delivered',
        paymentStatus: 'captured',
      });
    });

    test('single units, once per key; more than are left: 409; unknown lines: 422', async () => {
      const order = await life.placed(3);
      const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
      const key = { 'idempotency-key': 'cancel one' };
      const answers = await times(5, () => life.cancel(order, { lines }, key));
      expect(statusesOf(answers)).toEqual(Array(5).fill(200));
      const named = await life.cancel({ ...order, id: order.number }, { lines }, key);
      expect(named.headers.get('idempotent-replayed')).toBe('true');
      expect(await life.read(order)).toMatchObject({
        status: 'confirmed',
        lines: [{ cancelledQuantity: 1 }],
      });
      const tooMany = [{ lineId: order.lines[0]!.id, quantity: 3 }];
      expectProblem(await life.cancel(order, { lines: tooMany }), 409, 'not_enough_units');
      const unknown = [{ lineId: randomUUID(), quantity: 1 }];
      expectProblem(
        await life.cancel(order, { lines: unknown }),
        422,
        'validation_failed',
        '/lines/0/lineId',
      );
      await life.shipUnits(order, 1);
      expect((await life.cancel(order, { lines })).body).toMatchObject({
        status: 'shipped',
        lines: [{ cancelledQuantity: 2, shippedQuantity: 1 }],
      });
      expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 99, reserved: 0 });
    });

    test('of a shipped or delivered order: 409 already_shipped; of a rejected one: 409', async () => {
      const { order, shipment } = await shipped();
      const answer = await life.cancel(order);
      expectProblem(answer, 409, 'already_shipped');
      expect(answer.body).toMatchObject({ currentStatus: 'shipped' });
      const lines = [{ lineId: order.lines[0]!.id, quantity: 1 }];
      expectProblem(await life.cancel(order, { lines }), 409, 'already_shipped');
      await life.deliver(shipment);
      expectProblem(await life.cancel(order), 409, 'already_shipped');
      expectProblem(await life.cancel(order, { lines }), 409, 'already_shipped');
      const rejected = await life.placed(1, { card: 'tok_declined' });
      expectProblem(await life.cancel(rejected), 409, 'invalid_transition');
      const { tokens } = life.stack;
      const deleted = await life.api.request('DELETE', `/v1/orders/${rejected.id}`, { token: tokens.john });
      expectProblem(deleted, 409, 'invalid_transition');
      expect(await life.read(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
    });
  });

  describe('changing the address', () => {
    const elsewhere = { ...address, line1: '99 Elsewhere Road' };

    test('until all is shipped, 409 after', async () => {
      const order = await life.placed(2);
      expect((await patchOrder(order, { shippingAddress: elsewhere })).status).toBe(200);
      const { body: parcel } = await life.shipUnits(order, 1);
      const moved = await patchOrder(order, { shippingAddress: address });
      expect(moved).toMatchObject({ status: 200, body: { shippingAddress: address } });
      await life.shipUnits(order, 1);
      for (const body of [{ shippingAddress: elsewhere }, { note: 'too late' }]) {
        expectProblem(await patchOrder(order, body), 409, 'invalid_transition');
      }
      await life.deliver(parcel);
      expectProblem(await patchOrder(order, { shippingAddress: elsewhere }), 409, 'invalid_transition');
      expect((await life.read(order)).shippingAddress).toEqual(address);
    });

    test('at the same instant as shipping: both, or the change hears 409', async () => {
      for (const order of await times(10, () => life.placed(1))) {
        const [shipping, changing] = await Promise.all([
          life.ship(order),
          patchOrder(order, { shippingAddress: elsewhere }),
        ]);
        expect(shipping.status).toBe(201);
        const { shippingAddress } = await life.read(order);
        if (changing.status === 200) expect(shippingAddress).toEqual(elsewhere);
        else {
          expectProblem(changing, 409, 'invalid_transition');
          expect(shippingAddress).toEqual(address);
        }
      }
    });
  });

  test('what an order costs: place, pay, ship, deliver in 12 actions and 60 events at most', async () => {
    const order = await life.delivered(2);
    await life.result(order);
    const { actions, events } = await costOf(life.stack.temporal, order.workflowId);
    expect(actions).toBeLessThanOrEqual(12);
    expect(events).toBeLessThanOrEqual(60);
  });
});

describe('not shipped in the promised time', () => {
  onPlatform(begin, { SHIP_WITHIN_HOURS: '0.0015', STOCK_MANAGER_EMAIL: 'late@example.com' });

  const lateMails = async ({ number }: Order) =>
    (await life.stack.mailsAbout(number)).filter(({ to }) => to[0]?.address === 'late@example.com');

  const untilOverdue = (order: Order) =>
    eventually('it is known to be late', async () => (await life.events(order)).includes('order.overdue'));

  test('the stock manager gets one mail, also when its workflow begins again; the order goes on', async () => {
    const order = await life.placed(2);
    await untilOverdue(order);
    await eventually('the mail is there', async () => (await lateMails(order)).length > 0);
    expect(await life.read(order)).toMatchObject({ status: 'confirmed', version: order.version });
    await life.workflow(order).terminate('by a test');
    await life.shipUnits(order, 1);
    expect(await life.events(order)).toContain('workflow.restarted');
    await life.deliver((await life.ship(order)).body);
    await life.deliver((await life.read(order)).shipments[0]!);
    expect(await life.result(order)).toMatchObject({ status: 'delivered' });
    expect(await life.mails(order)).toHaveLength(6);
    const mails = await lateMails(order);
    expect(mails.map(({ subject }) => subject)).toEqual([`Order ${order.number} is late`]);
    expect((await life.events(order)).filter((type) => type === 'order.overdue')).toHaveLength(1);
  });

  test('nobody hears of an order that was shipped or cancelled in time; of a part that is missing one does', async () => {
    const whole = await life.placed(1);
    await life.ship(whole);
    const cancelled = await life.placed(1);
    await life.cancel(cancelled);
    const part = await life.placed(2);
    await life.shipUnits(part, 1);
    await untilOverdue(part);
    await eventually('the mail is there', async () => (await lateMails(part)).length === 1);
    expect(await life.events(whole)).not.toContain('order.overdue');
    expect(await life.events(cancelled)).not.toContain('order.overdue');
    expect([...(await lateMails(whole)), ...(await lateMails(cancelled))]).toEqual([]);
  });
});

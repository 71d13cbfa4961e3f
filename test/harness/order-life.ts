import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { afterAll, beforeAll } from 'vitest';
import type { LineUnits, Order, OrderState, Shipment } from '../../domain/order.ts';
import type { Payment } from '../../domain/payments.ts';
import type { Return, ReturnCommand } from '../../domain/returns.ts';
import { signMockWebhook } from '../../providers/webhooks/standard-webhooks.ts';
import { type Answer, type Api, orderOf } from './http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './invariants.ts';
import { conforming } from './openapi.ts';
import { startStack, type TestStack } from './stack.ts';
import { eventually } from './wait.ts';

export const MOCK_WEBHOOK_SECRET = 'whsec_b25seSB1c2VkIGJ5IHRoZXNlIHRlc3RzLCBub3doZXJlIGVsc2U=';

type Headers = Record<string, string>;

interface Placing {
  card?: string;
  token?: string;
  headers?: Headers;
  /** The API process to ask, instead of the stack's own. */
  api?: Api;
}

interface Intent {
  id: string;
  status: string;
  amount: number;
  captured: number;
  refunded: number;
  /** How often the company was asked for it. */
  calls: number;
}

/** A platform, and what customers, staff and companies do to orders on it. Answers are held against /openapi.json. */
export class OrderLife {
  readonly stack: TestStack;
  readonly api: Api;

  private constructor(stack: TestStack, api: Api) {
    this.stack = stack;
    this.api = api;
  }

  static async start(environment: Record<string, string> = {}): Promise<OrderLife> {
    const stack = await startStack({
      environment: { MOCK_WEBHOOK_SECRET, RECONCILE_INTERVAL_SECONDS: '86400', ...environment },
    });
    return new OrderLife(stack, await conforming(stack.api));
  }

  /** A new product with stock; its sku. */
  async goods(onHand = 100, price = 1000): Promise<string> {
    const sku = `GOODS-${randomUUID().slice(0, 8).toUpperCase()}`;
    await this.stack.stock(sku, 0, price);
    const { token } = this.staff;
    await this.api.request('PUT', `/v1/inventory/${sku}`, { token, body: { onHand } });
    return sku;
  }

  place(lines: { sku: string; quantity: number }[], placing: Placing = {}): Promise<Answer<Order>> {
    const { card = 'tok_ok', token = this.stack.tokens.john, headers = {}, api = this.api } = placing;
    return api.place(token, orderOf(lines, { payment: { method: 'card', token: card } }), headers);
  }

  /** Places an order of `quantity` units of a new product. */
  async placed(quantity = 1, placing: Placing & { price?: number } = {}): Promise<Order> {
    const sku = await this.goods(100, placing.price);
    return (await this.place([{ sku, quantity }], placing)).body;
  }

  /** An order of `quantity` units of one product that is shipped and delivered, all in one parcel. */
  async delivered(quantity = 1, placing: Placing & { price?: number } = {}): Promise<Order> {
    const order = await this.placed(quantity, placing);
    await this.deliver((await this.ship(order)).body);
    return await this.read(order);
  }

  async read({ id }: { id: string }): Promise<Order> {
    return (await this.api.request<Order>('GET', `/v1/orders/${id}`, this.staff)).body;
  }

  ship({ id }: Order, body: object = {}, headers: Headers = {}): Promise<Answer<Shipment>> {
    const shipment = { carrier: 'UPS', ...body };
    return this.api.request('POST', `/v1/orders/${id}/shipments`, { ...this.staff, body: shipment, headers });
  }

  /** Ships `quantity` units of the order's line number `line`. */
  shipUnits(order: Order, quantity: number, line = 0): Promise<Answer<Shipment>> {
    return this.ship(order, { lines: [{ lineId: order.lines[line]!.id, quantity }] });
  }

  deliver({ id }: Shipment, headers: Headers = {}): Promise<Answer<Shipment>> {
    return this.api.request('POST', `/v1/shipments/${id}/deliver`, { ...this.staff, headers });
  }

  cancel({ id }: Order, body: object = {}, headers: Headers = {}): Promise<Answer<Order>> {
    return this.api.request('POST', `/v1/orders/${id}/cancel`, {
      token: this.stack.tokens.staff,
      body,
      headers,
    });
  }

  refund({ id }: Order, body: object, headers: Headers = {}): Promise<Answer<Payment>> {
    const refund = { reason: 'goodwill', ...body };
    return this.api.request('POST', `/v1/orders/${id}/refunds`, { ...this.staff, body: refund, headers });
  }

  /** Asks to return `quantity` units of the order's first line. */
  requestReturn(
    order: Order,
    quantity: number,
    options: { token?: string; headers?: Headers; lines?: LineUnits[] } = {},
  ): Promise<Answer<Return>> {
    const { token = this.stack.tokens.john, headers = {} } = options;
    const lines = options.lines ?? [{ lineId: order.lines[0]!.id, quantity }];
    const body = { lines, reason: 'too big' };
    return this.api.request('POST', `/v1/orders/${order.id}/returns`, { token, body, headers });
  }

  advance(id: string, command: ReturnCommand, headers: Headers = {}): Promise<Answer<Return>> {
    return this.api.request('POST', `/v1/returns/${id}/${command}`, { ...this.staff, headers });
  }

  /** The movements of money, as the API lists them. */
  async paymentList({ id }: Order): Promise<Payment[]> {
    return (await this.api.request('GET', `/v1/orders/${id}/payments`, this.staff)).body.data;
  }

  async payments(order: Order): Promise<[type: string, status: string, amount: number][]> {
    return (await this.paymentList(order)).map(({ type, status, amount }) => [type, status, amount]);
  }

  /** The id of the order's first authorization. */
  async paymentId(order: Order): Promise<string> {
    return (await this.paymentList(order))[0]!.id;
  }

  /** What the mock payment company has on an order, oldest first. */
  async intents({ id }: Order): Promise<Intent[]> {
    const { rows } = await sql<Intent>`
      select intent.id, intent.status, intent.amount, intent.captured, intent.refunded, intent.calls
      from mock_company.payment_intents as intent join ordering.payments on payments.id = intent.id
      where order_id = ${id} order by ordinal
    `.execute(this.stack.db);
    return rows;
  }

  /** What the mock payment company was asked to do with an order's money, and did. */
  async moved({ id }: Order, type: 'capture' | 'void' | 'refund'): Promise<number[]> {
    const { rows } = await sql<{ amount: number }>`
      select movement.amount
      from mock_company.payment_movements as movement join ordering.payments on payments.id = intent_id
      where order_id = ${id} and movement.type = ${type} and answer = 'done' order by movement.at
    `.execute(this.stack.db);
    return rows.map(({ amount }) => amount);
  }

  /** The state of the mock carrier's bookings for an order, oldest first. */
  async bookings({ number }: Order): Promise<{ id: string; status: string; trackingNumber: string }[]> {
    const { rows } = await sql<{ id: string; status: string; trackingNumber: string }>`
      select shipment_id as id, status, tracking_number as "trackingNumber"
      from mock_company.carrier_bookings where order_number = ${number} order by created_at
    `.execute(this.stack.db);
    return rows;
  }

  /** The types of the order's timeline without those of mails, which come when they are sent; oldest first. */
  async events({ id }: Order): Promise<string[]> {
    const { body } = await this.api.request('GET', `/v1/orders/${id}/events?limit=100`, this.staff);
    const types = body.data.map(({ type }: { type: string }) => type) as string[];
    return types.filter((type) => !type.startsWith('notification.'));
  }

  async stockOf(sku: string): Promise<{ onHand: number; reserved: number }> {
    const { onHand, reserved } = (await this.api.request('GET', `/v1/inventory/${sku}`, this.staff)).body;
    return { onHand, reserved };
  }

  /** The ledger's entries for an order, oldest first. */
  async movements({ id }: Order): Promise<[type: string, quantity: number][]> {
    const rows = await this.stack.db
      .selectFrom('inventory.movements')
      .select(['type', 'quantity'])
      .where('order_id', '=', id)
      .orderBy('id')
      .execute();
    return rows.map(({ type, quantity }) => [type, quantity]);
  }

  /** The subjects of all mails about an order without its number, sorted, once none is under way any more. */
  async mails({ id, number }: Order): Promise<string[]> {
    const mails = await eventually('all mails are sent', async () => {
      const notifications = await this.stack.db
        .selectFrom('messaging.notifications')
        .select('status')
        .where('order_id', '=', id)
        .where('channel', '=', 'email')
        .execute();
      const arrived = await this.stack.mailsAbout(number);
      const sent = notifications.every(({ status }) => status === 'sent');
      return sent && arrived.length >= notifications.length && arrived;
    });
    return mails.map(({ subject }) => subject.replace(number, '#')).toSorted();
  }

  /** A webhook of a mock company. */
  webhook(path: string, raw: string, headers: Headers = this.sign(raw)): Promise<Answer> {
    return this.api.request('POST', path, { raw, headers });
  }

  paymentWebhook(type: 'payment.authorized' | 'payment.failed', paymentId: string): Promise<Answer> {
    return this.webhook('/v1/payments/mock/webhook', JSON.stringify({ type, data: { paymentId } }));
  }

  carrierWebhook(trackingNumber: string, status: string): Promise<Answer> {
    const body = { type: 'shipment.updated', data: { trackingNumber, status } };
    return this.webhook('/v1/carriers/mock/webhook', JSON.stringify(body));
  }

  sign(body: string, secret = MOCK_WEBHOOK_SECRET): Headers {
    return signMockWebhook(secret, body);
  }

  workflow({ workflowId }: { workflowId: string }) {
    return this.stack.temporal.workflow.getHandle(workflowId);
  }

  result(order: Order): Promise<OrderState> {
    return this.workflow(order).result();
  }

  /** What the Temporal CLI prints. */
  async temporal(...args: string[]): Promise<string> {
    const { temporalCli, temporalAddress } = this.stack.parts;
    const { namespace } = this.stack.temporal.options;
    const where = ['--address', temporalAddress, '--namespace', namespace];
    return (await promisify(execFile)(temporalCli, [...args, ...where])).stdout;
  }

  /** `temporal workflow update execute`. */
  update(workflowId: string, name: string, input?: object, ...options: string[]): Promise<string> {
    const given = input === undefined ? [] : ['--input', JSON.stringify(input)];
    return this.temporal(
      'workflow',
      'update',
      'execute',
      '-w',
      workflowId,
      '--name',
      name,
      ...given,
      ...options,
    );
  }

  private get staff() {
    return { token: this.stack.tokens.staff };
  }
}

/** The tests of a block run on a platform of their own, given to `use`, on which everything adds up in the end. */
export function onPlatform(use: (life: OrderLife) => void, environment: Record<string, string> = {}): void {
  let life: OrderLife;
  beforeAll(async () => {
    life = await OrderLife.start(environment);
    use(life);
  });
  afterAll(async () => {
    try {
      await expectStockAddsUp(life.stack.db);
      await expectMoneyAddsUp(life.stack.db);
    } finally {
      await life.stack.stop();
    }
  });
}

/** Does something so many times at once. */
export const times = <T>(count: number, act: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, act));

/** The statuses of the answers, the lowest first. */
export const statusesOf = (answers: Answer[]): number[] =>
  answers.map(({ status }) => status).toSorted((one, other) => one - other);

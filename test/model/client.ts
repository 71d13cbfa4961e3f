import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowNotFoundError } from '@temporalio/client';
import { signMockWebhook } from '../../providers/webhooks/standard-webhooks.ts';
import type { Answer as HttpAnswer, RequestOptions } from '../harness/http.ts';
import { address, orderOf } from '../harness/http.ts';
import type { TestStack } from '../harness/stack.ts';
import { type Answer, type Command, type Door, STATIONS, type Units, UNKNOWN } from './model.ts';

export const MOCK_WEBHOOK_SECRET = 'whsec_bW9kZWwtYmFzZWQtdGVzdC1vZi1ob2xkZmFzdCEh';

/** Shorter than a lost workflow task takes, so that kills are heard of as 202 and 503. */
const WAIT_SECONDS = 4;

/** Sends commands to a platform as careful clients do: what is not settled or not available is sent again. */
export class ModelClient {
  private readonly stack: TestStack;
  private readonly patience: number;
  /** What the platform calls the orders, parcels and returns that commands have made, by the commands' keys. */
  readonly ids = new Map<string, string>();

  /** `patience`: for so many seconds a request is sent again. */
  constructor(stack: TestStack, patience: number) {
    this.stack = stack;
    this.patience = patience;
  }

  async send(command: Command): Promise<Answer> {
    const { john, staff } = this.stack.tokens;
    if (command.kind === 'place') {
      const { lines, token } = command;
      const body = orderOf(lines, { payment: { method: 'card', token } });
      if (command.cancelled) await this.placeAndCancel(command, command.cancelled, body);
      const placed = await this.request(command, 'POST', '/v1/orders', { token: john, body });
      return command.cancelled ? 'ok' : (placed.code ?? placed.body.status);
    }
    const orderId = this.idOf(command.order);
    const path = `/v1/orders/${orderId}`;
    const post = (token: string, to: string, body: object = {}) =>
      this.request(command, 'POST', to, { token, body }).then(({ code = 'ok' }) => code);

    switch (command.kind) {
      case 'cancel': {
        const reason = `reason ${command.key}`;
        const handle = this.workflow(orderId);
        if (command.door === 'signal') return await orGone(handle.signal('cancel', { reason }));
        if (command.door === 'native') return await orGone(handle.cancel());
        return await post(john, `${path}/cancel`, { reason, ...(await this.lines(orderId, command.units)) });
      }
      case 'ship': {
        const { carrier, units } = command;
        return await post(staff, `${path}/shipments`, { carrier, ...(await this.lines(orderId, units)) });
      }
      case 'deliver': {
        const parcel = this.idOf(command.parcel);
        if (command.door === 'http') return await post(staff, `/v1/shipments/${parcel}/deliver`);
        const { body } = await this.get(`/v1/shipments/${parcel}`);
        const data = { trackingNumber: body.trackingNumber, status: 'delivered' };
        return await this.webhook(command, '/v1/carriers/mock/webhook', { type: 'shipment.updated', data });
      }
      case 'track': {
        const body = { status: STATIONS[command.station] };
        const tracked = await this.request(command, 'PATCH', `/v1/shipments/${this.idOf(command.parcel)}`, {
          token: staff,
          body,
        });
        return tracked.code ?? 'ok';
      }
      case 'pay': {
        const { body } = await this.get(`${path}/payments`);
        const payment = body.data.findLast(({ type }: { type: string }) => type === 'authorization');
        if (!payment) return 'ok';
        const data = { paymentId: payment.id };
        const type = `payment.${command.verdict}`;
        return await this.webhook(command, '/v1/payments/mock/webhook', { type, data });
      }
      case 'refund': {
        const { amount, key } = command;
        return await post(staff, `${path}/refunds`, { amount, reason: `reason ${key}` });
      }
      case 'return': {
        const lines = await this.lines(orderId, command.units);
        return await post(john, `${path}/returns`, { ...lines, reason: `reason ${command.key}` });
      }
      case 'advance':
        return await post(staff, `/v1/returns/${this.idOf(command.returned)}/${command.command}`);
      case 'change': {
        const body = { shippingAddress: { ...address, line1: command.address } };
        const { code, again } = await this.request(command, 'PATCH', path, { token: john, body });
        return code === undefined ? 'ok' : again ? UNKNOWN : code;
      }
      case 'terminate':
        return await orGone(this.workflow(orderId).terminate('by the model'));
    }
  }

  /** Cancels an order of which no more is known than that it was accepted. */
  private async placeAndCancel({ key }: Command, door: Door, body: object): Promise<void> {
    const headers = { 'idempotency-key': key, prefer: 'respond-async' };
    const accepted = await this.stack.api.place(this.stack.tokens.john, body, headers);
    this.note(key, accepted.body.id);
    await this.send({ kind: 'cancel', key: `${key}-at-once`, order: key, door });
  }

  private idOf(key: string): string {
    const id = this.ids.get(key);
    if (id === undefined) throw new Error(`Nothing was made with the key ${key}`);
    return id;
  }

  /** The same request always makes the same. */
  private note(key: string, id: string | undefined): void {
    const known = this.ids.get(key) ?? id;
    if (id === undefined || id !== known) throw new Error(`${key} made ${id}, and ${known} before`);
    this.ids.set(key, id);
  }

  private workflow(orderId: string) {
    return this.stack.temporal.workflow.getHandle(`order-${orderId}`);
  }

  private get(path: string): Promise<HttpAnswer> {
    return this.stack.api.request('GET', path, { token: this.stack.tokens.staff });
  }

  private async lines(orderId: string, units: Units[] | undefined) {
    if (!units) return {};
    const { body } = await this.get(`/v1/orders/${orderId}`);
    return { lines: units.map(({ line, quantity }) => ({ lineId: body.lines[line].id, quantity })) };
  }

  private async webhook(command: Command, path: string, body: object): Promise<Answer> {
    const raw = JSON.stringify(body);
    const headers = signMockWebhook(MOCK_WEBHOOK_SECRET, raw);
    const { code = 'ok' } = await this.request(command, 'POST', path, { raw, headers });
    return code;
  }

  /** Sends a request until it is answered for good; `code` is that of a refusal. */
  private async request(
    { kind, key }: Command,
    method: string,
    path: string,
    options: RequestOptions,
  ): Promise<{ body: HttpAnswer['body']; code?: string; again: boolean }> {
    const headers = { 'idempotency-key': key, prefer: `wait=${WAIT_SECONDS}`, ...options.headers };
    const deadline = Date.now() + this.patience * 1_000;
    for (let again = false; ; again = true) {
      const { status, body } = await this.stack.api.request(method, path, { ...options, headers });
      if (status === 200 || status === 201) {
        if (kind === 'place' || kind === 'ship' || kind === 'return') this.note(key, body.id);
        return { body, again };
      }
      if (status >= 400 && status < 500) return { body, code: body.code, again };
      if ((status !== 202 && status !== 503) || Date.now() > deadline) {
        throw new Error(`${method} ${path} answered ${status} at last: ${JSON.stringify(body)}`);
      }
      await delay(200);
    }
  }
}

async function orGone(sent: Promise<unknown>): Promise<Answer> {
  try {
    await sent;
    return 'ok';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'gone';
    throw error;
  }
}

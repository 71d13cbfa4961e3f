import { randomUUID } from 'node:crypto';
import type { WebhookDelivery } from '../../db/webhook-deliveries.ts';
import type { Order } from '../../domain/order.ts';
import { type Answer, type Api, orderOf } from './http.ts';
import { conforming } from './openapi.ts';
import type { Process } from './processes.ts';
import { type Received, type Receiver, startReceiver } from './receiver.ts';
import { startStack, type TestStack } from './stack.ts';
import { eventually } from './wait.ts';

export interface Endpoint {
  id: string;
  secret: string;
  path: string;
}

/** For how long a webhook waits for its answer: long enough for a slow machine to do a few things meanwhile. */
export const ANSWER_WITHIN_SECONDS = 10;

/** A platform whose webhooks go to a receiver of the test. Answers are held against /openapi.json. */
export class WebhookPlatform {
  readonly receiver: Receiver;
  readonly stack: TestStack;
  api!: Api;
  process!: Process;
  admin = '';
  john = '';

  private constructor(receiver: Receiver, stack: TestStack) {
    this.receiver = receiver;
    this.stack = stack;
  }

  /** Retries come soon, and an endpoint is disabled when one delivery to it is given up. */
  static async start(): Promise<WebhookPlatform> {
    const environment = {
      WEBHOOK_RETRY_SECONDS: '0.2,0.3,0.3',
      WEBHOOK_TIMEOUT_SECONDS: String(ANSWER_WITHIN_SECONDS),
      WEBHOOK_DISABLE_AFTER_HOURS: '0',
      RECONCILE_INTERVAL_SECONDS: '86400',
    };
    const [receiver, stack] = await Promise.all([startReceiver(), startStack({ api: false, environment })]);
    const platform = new WebhookPlatform(receiver, stack);
    await platform.startApi();
    platform.admin = await platform.api.login('admin@example.com');
    platform.john = await platform.api.login('john.smith@example.com');
    return platform;
  }

  /** Starts an API process and asks it from now on. */
  async startApi(environment: Record<string, string> = {}): Promise<void> {
    const { api, process } = await this.stack.startApi(environment);
    this.api = await conforming(api);
    this.process = process;
  }

  async stop(): Promise<void> {
    await this.stack.stop();
    await this.receiver.stop();
  }

  ask(method: string, path: string, body?: unknown, headers = {}, token = this.admin) {
    return this.api.request(method, `/v1/${path}`, {
      token,
      headers,
      ...(body !== undefined && { body }),
    });
  }

  /** A new endpoint at a path of its own. */
  async addEndpoint(more: Record<string, unknown> = {}): Promise<Endpoint> {
    const path = `/${randomUUID()}`;
    const url = this.receiver.url(path);
    const { body } = await answered(201, this.ask('POST', 'webhook-endpoints', { url, ...more }));
    return { id: body.id, secret: body.secret, path };
  }

  /** An endpoint that hears of nothing but what is sent to it by name. */
  addQuietEndpoint(): Promise<Endpoint> {
    return this.addEndpoint({ eventTypes: ['webhook.*'] });
  }

  removeEndpoint({ id }: Pick<Endpoint, 'id'>) {
    return this.ask('DELETE', `webhook-endpoints/${id}`);
  }

  async sendTest({ id }: Pick<Endpoint, 'id'>): Promise<WebhookDelivery> {
    return (await answered(202, this.ask('POST', `webhook-endpoints/${id}/test`))).body;
  }

  async deliveryOf(id: string): Promise<WebhookDelivery> {
    return (await this.ask('GET', `webhook-deliveries/${id}`)).body;
  }

  untilStatus(id: string, status: string): Promise<WebhookDelivery> {
    return eventually(
      `delivery ${id} is ${status}`,
      async () => {
        const delivery = await this.deliveryOf(id);
        return delivery.status === status && delivery;
      },
      40,
    );
  }

  async place(): Promise<Order> {
    const placing = this.api.place(this.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    return (await answered(201, placing)).body;
  }

  arrivals({ path }: Endpoint, order: Order): Received[] {
    return this.receiver.received(path).filter(({ body }) => body.data.orderId === order.id);
  }
}

async function answered<T>(status: number, asked: Promise<Answer<T>>): Promise<Answer<T>> {
  const answer = await asked;
  if (answer.status !== status) throw new Error(`Answered ${answer.status}`, { cause: answer.body });
  return answer;
}

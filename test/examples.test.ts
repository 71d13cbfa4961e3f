import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXAMPLE_WEBHOOK_SECRET } from '../config/env.ts';
import { signMockWebhook } from '../providers/webhooks/standard-webhooks.ts';
import { freePort } from '../dev/ports.ts';
import { orderOf } from './harness/http.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.stop());

/** Runs an example as a reader would; its lines come while it runs. */
function start(name: string, environment: Record<string, string>) {
  const child = spawn(process.execPath, ['--import', 'tsx', `examples/${name}.ts`], {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], API_URL: stack.api.url, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 50_000,
  });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { lines, ended, stop: () => child.kill('SIGTERM') };
}

async function run(name: string): Promise<string> {
  const { lines, ended } = start(name, {});
  expect(await ended).toBe(0);
  return lines.join('\n');
}

const ordersOf = () => stack.db.selectFrom('ordering.orders').select(['number', 'status']).execute();

test('the storefront registers, checks out once, is told of a wrong price, and cancels', async () => {
  const output = await run('storefront');
  expect(output).toMatch(/^The cart: 1 x \S/m);
  const [, number] = output.match(/^Order (\S+) is confirmed/m)!;
  expect(output).toContain(`Sent again, it is order ${number}`);
  expect(output).toContain('price_changed');
  expect(output).toMatch(/^Order \S+ is cancelled: changed my mind$/m);
  const statuses = (await ordersOf()).map(({ status }) => status).toSorted();
  expect(statuses).toEqual(['cancelled', 'confirmed']);
});

test('the warehouse ships and delivers what waits', async () => {
  const output = await run('warehouse');
  expect(output).toContain('1 orders wait');
  const [, number] = output.match(/^Order (\S+) is on its way: UPS \S+$/m)!;
  expect(output).toContain(`Order ${number} is delivered`);
  expect(output).toMatch(/: \d+ on hand, 0 reserved$/m);
  expect(await ordersOf()).toContainEqual({ number, status: 'delivered' });
});

test('the webhook receiver hears of an order', async () => {
  const port = await freePort();
  const body = { url: `http://127.0.0.1:${port}/`, eventTypes: ['order.*'] };
  const endpoint = await stack.api.request('POST', '/v1/webhook-endpoints', {
    token: stack.tokens.admin,
    body,
  });
  const receiver = start('webhook-receiver', { PORT: String(port), WEBHOOK_SECRET: endpoint.body.secret });
  try {
    await eventually('the receiver listens', () => receiver.lines[0]);
    const { body: order } = await stack.api.place(
      stack.tokens.john,
      orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]),
    );
    await eventually('the receiver hears of the order', () =>
      receiver.lines.find((line) => line.startsWith('order.confirmed') && line.includes(order.id)),
    );
  } finally {
    receiver.stop();
  }
  expect(await receiver.ended).toBe(0);
});

test('the webhook receiver prints what is signed, once, and refuses the rest', async () => {
  const receiver = start('webhook-receiver', { PORT: '0', WEBHOOK_SECRET: EXAMPLE_WEBHOOK_SECRET });
  try {
    const line = await eventually('the receiver listens', () => receiver.lines[0]);
    const url = line.replace('Listening on ', '');
    const body = JSON.stringify({ type: 'order.confirmed', data: { orderId: 'an order' } });
    const headers = signMockWebhook(EXAMPLE_WEBHOOK_SECRET, body);
    const send = async (text: string) => (await fetch(url, { method: 'POST', body: text, headers })).status;
    expect([await send(body), await send(body)]).toEqual([204, 204]);
    expect(await send(body.replace('an order', 'another'))).toBe(401);
    expect(receiver.lines.filter((printed) => printed.includes('order.confirmed'))).toHaveLength(1);
  } finally {
    receiver.stop();
  }
  expect(await receiver.ended).toBe(0);
});

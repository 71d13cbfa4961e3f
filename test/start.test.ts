import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { freePort } from '../dev/ports.ts';
import type { Order } from '../domain/order.ts';
import { signMockWebhook } from '../providers/webhooks/standard-webhooks.ts';
import { Api, orderOf } from './harness/http.ts';
import { eventually } from './harness/wait.ts';

/** `npm start`, driven as a person drives it: from its own data folder, on free ports. */
let folder: string;
let environment: Record<string, string>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-start-'));
  environment = {
    PATH: process.env.PATH!,
    HOME: process.env.HOME!,
    DATA_DIR: join(folder, 'data'),
    TEMPORAL_CLI_PATH: inject('parts').temporalCli,
  };
  for (const name of [
    'PORT',
    'POSTGRES_PORT',
    'TEMPORAL_PORT',
    'TEMPORAL_UI_PORT',
    'INBOX_PORT',
    'SMTP_PORT',
  ]) {
    environment[name] = String(await freePort());
  }
});
afterAll(() => {
  signalTree('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

interface Start {
  process: ChildProcess;
  output(): string;
  exit: Promise<number | null>;
}

function npmStart(more: Record<string, string> = {}, args: string[] = []): Start {
  const child = spawn('npm', ['start', '--silent', '--', ...args], {
    cwd: new URL('..', import.meta.url),
    env: { ...environment, ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  const exit = once(child, 'exit').then(([code]) => code as number | null);
  return { process: child, output: () => output, exit };
}

const ready = (start: Start) =>
  eventually(
    'npm start is ready',
    () => {
      if (start.process.exitCode !== null) throw new Error(start.output());
      return start.output().includes('Ctrl-C stops everything.');
    },
    60,
  );

/** Every process of this stack, whatever became of its parents: each carries the data folder in its environment. */
function processesOfStack(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        const mine = `${environment.DATA_DIR}`;
        return [`/proc/${pid}/environ`, `/proc/${pid}/cmdline`].some((file) =>
          readFileSync(file, 'utf8').includes(mine),
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

const gone = () => eventually('no process is left', () => processesOfStack().length === 0, 30);
const signalTree = (signal: NodeJS.Signals) => {
  for (const pid of processesOfStack()) {
    try {
      process.kill(pid, signal);
    } catch {
      // it ended meanwhile
    }
  }
};

/** The value that .env.example gives a variable. */
const exampleOf = (name: string): string =>
  readFileSync(new URL('../.env.example', import.meta.url), 'utf8').match(
    new RegExp(`^${name}=(.*)$`, 'm'),
  )![1]!;

const john = async (): Promise<{ api: Api; token: string }> => {
  const api = new Api(`http://127.0.0.1:${environment.PORT}`);
  return { api, token: await api.login('john.smith@example.com') };
};

let first: Order;
let unpaid: Order;

test('a first start brings everything up, and Ctrl-C takes everything down', async () => {
  const start = npmStart();
  await ready(start);
  for (const said of ['Temporal Web UI', '/docs', 'demo-password', 'curl', 'workflow signal']) {
    expect(start.output()).toContain(said);
  }
  const { api, token } = await john();
  first = (await api.place(token, orderOf([{ sku: 'CONSOLE-LE', quantity: 1 }]))).body;
  expect(first).toMatchObject({ status: 'confirmed', paymentStatus: 'authorized' });
  const payment = { method: 'card', token: 'tok_async' };
  unpaid = (await api.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }], { payment }))).body;
  expect(unpaid.status).toBe('awaiting_payment');
  expect((await fetch(`http://127.0.0.1:${environment.TEMPORAL_UI_PORT}`)).status).toBe(200);
  expect((await fetch(`http://127.0.0.1:${environment.INBOX_PORT}`)).status).toBe(200);
  expect(existsSync(join(environment.DATA_DIR!, 'logs', 'api.log'))).toBe(true);

  start.process.kill('SIGINT');
  expect(await start.exit).toBe(0);
  await gone();
});

test('a second start, after kill -9 of the whole tree too, keeps orders and running workflows', async () => {
  const killed = npmStart();
  await ready(killed);
  signalTree('SIGKILL');
  await killed.exit;
  await gone();

  const start = npmStart();
  await ready(start);
  const { api, token } = await john();
  const kept = await api.request('GET', `/v1/orders/${first.id}`, { token });
  expect(kept.body).toEqual(first);
  const staff = await api.login('staff@example.com');
  const stock = () => api.request('GET', '/v1/inventory/CONSOLE-LE', { token: staff });
  expect((await stock()).body).toMatchObject({ onHand: 2, reserved: 1 });
  const cancelled = await api.request('DELETE', `/v1/orders/${first.id}`, { token });
  expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
  expect((await stock()).body).toMatchObject({ onHand: 2, reserved: 0 });

  const { body: payments } = await api.request('GET', `/v1/orders/${unpaid.id}/payments`, { token });
  const raw = JSON.stringify({ type: 'payment.authorized', data: { paymentId: payments.data[0].id } });
  const headers = signMockWebhook(exampleOf('MOCK_WEBHOOK_SECRET'), raw);
  expect((await api.request('POST', '/v1/payments/mock/webhook', { raw, headers })).status).toBe(200);
  await eventually('the payment confirms the order', async () => {
    const { body } = await api.request('GET', `/v1/orders/${unpaid.id}`, { token });
    return body.status === 'confirmed';
  });

  start.process.kill('SIGTERM');
  expect(await start.exit).toBe(0);
  await gone();
});

test('a taken port, a missing CLI, a broken data folder, Stripe without its key: told clearly, and exit code 1', async () => {
  const server = createServer().listen(Number(environment.PORT), '127.0.0.1');
  await once(server, 'listening');
  const taken = npmStart();
  expect(await taken.exit).toBe(1);
  expect(taken.output()).toMatch(/PORT/);
  expect(taken.output().trim().split('\n')).toHaveLength(1);
  server.close();

  const noCli = npmStart({ TEMPORAL_CLI_PATH: '/nowhere/temporal' });
  expect(await noCli.exit).toBe(1);
  expect(noCli.output()).toContain('TEMPORAL_CLI_PATH');

  const badFolder = npmStart({ DATA_DIR: '/dev/null/data' });
  expect(await badFolder.exit).toBe(1);
  expect(badFolder.output()).toContain('/dev/null');

  const noKey = npmStart({ PAYMENT_PROVIDER: 'stripe' });
  expect(await noKey.exit).toBe(1);
  expect(noKey.output()).toContain('STRIPE_API_KEY is not set');

  const unknown = npmStart({}, ['--frehs']);
  expect(await unknown.exit).toBe(1);
  expect(unknown.output()).toContain('--frehs');
  await gone();
});

test('--fresh forgets everything', async () => {
  const start = npmStart({}, ['--fresh']);
  await ready(start);
  const { api, token } = await john();
  expect(await api.request('GET', `/v1/orders/${first.id}`, { token })).toMatchObject({ status: 404 });
  start.process.kill('SIGINT');
  expect(await start.exit).toBe(0);
  await gone();
});

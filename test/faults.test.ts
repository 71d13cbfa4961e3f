import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { migrateToLatest } from '../db/migrate.ts';
import { seedDemoData } from '../db/seed.ts';
import { freePort } from '../dev/ports.ts';
import { type RunningPostgres, startPostgres } from '../dev/postgres.ts';
import { type RunningTemporal, startTemporal } from '../dev/temporal.ts';
import type { Order } from '../domain/order.ts';
import { type Api, type Answer, orderOf } from './harness/http.ts';
import { endWithProcess } from './harness/end-with-process.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import type { Process } from './harness/processes.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { ORDER_STATUS } from '../workflows/messages.ts';
import { eventually } from './harness/wait.ts';

/** So many updates Temporal takes for one run of a workflow; 2,000 where nobody says. */
const MOST_UPDATES = 40;

/** Postgres and Temporal of this file alone, so that they can be killed. */
let folder: string;
let postgres: RunningPostgres;
let temporal: RunningTemporal;
let postgresOptions: Parameters<typeof startPostgres>[0];
let temporalOptions: Parameters<typeof startTemporal>[0];
let stack: TestStack;
let api: Api;
let apiProcess: Process;
let letGo: () => void;
let token: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-faults-'));
  const shared = inject('parts');
  postgresOptions = {
    dataDir: join(folder, 'postgres'),
    port: await freePort(),
    logFile: join(folder, 'postgres.log'),
    superuserPassword: 'faults-superuser',
    appPassword: 'faults-app',
  };
  temporalOptions = {
    cli: shared.temporalCli,
    port: await freePort(),
    uiPort: await freePort(),
    dbFile: join(folder, 'temporal.db'),
    logFile: join(folder, 'temporal.log'),
    dynamicConfig: [`history.maxTotalUpdates=${MOST_UPDATES}`],
  };
  [postgres, temporal] = await Promise.all([startPostgres(postgresOptions), startTemporal(temporalOptions)]);
  letGo = endWithProcess(() => [postgres, temporal]);
  await migrateToLatest(postgres.url);
  await seedDemoData(postgres.url);
  stack = await startStack({
    parts: {
      ...shared,
      superuserUrl: postgres.superuserUrl,
      databaseUrl: postgres.url,
      temporalAddress: temporal.address,
    },
    namespace: 'default',
    api: false,
  });
  ({ api, process: apiProcess } = await stack.startApi());
  token = await api.login('john.smith@example.com');
});
afterAll(async () => {
  await stack.stop();
  await temporal.stop();
  await postgres.stop();
  letGo();
  rmSync(folder, { recursive: true, force: true });
});

interface Attempt {
  key: string;
  sku: string;
}

const send = ({ key, sku }: Attempt, to: Api = api, waitSeconds = 5): Promise<Answer<Order>> =>
  to.place(token, orderOf([{ sku, quantity: 1 }]), { 'idempotency-key': key, prefer: `wait=${waitSeconds}` });

/** Sends a burst, and lets the fault happen in the middle of it. Answers that never came are undefined. */
async function burst(sku: string, count: number, fault: () => Promise<unknown>) {
  const attempts = Array.from({ length: count }, () => ({ key: randomUUID(), sku }));
  const answers: Promise<Answer<Order> | undefined>[] = [];
  for (const [index, attempt] of attempts.entries()) {
    if (index === Math.floor(count / 2)) await Promise.race([Promise.all(answers.slice(0, 3)), fault()]);
    answers.push(send(attempt).catch(() => undefined));
  }
  return { attempts, answers: await Promise.all(answers) };
}

/** As a careful client does: the same request with the same key, until it is settled. */
const settle = (attempt: Attempt): Promise<Order> =>
  eventually(
    `order ${attempt.key} is settled`,
    async () => {
      const { status, body } = await send(attempt);
      expect([201, 202, 503]).toContain(status);
      return status === 201 && body;
    },
    60,
  );

/** Every order of the burst is there once, every reservation belongs to one, every workflow runs. */
async function expectAllRight(sku: string, attempts: Attempt[], answers: (Answer<Order> | undefined)[]) {
  const orders = await Promise.all(attempts.map(settle));
  expect(new Set(orders.map(({ id }) => id)).size).toBe(attempts.length);
  for (const [index, answer] of answers.entries()) {
    if (answer && answer.status < 300) expect(orders[index]!.id).toBe(answer.body.id);
  }
  const outcomes = orders.map(({ status, paymentStatus }) => `${status}, ${paymentStatus}`);
  expect(new Set(outcomes)).toEqual(new Set(['confirmed, authorized']));
  expect(await stack.reserved(sku)).toBe(attempts.length);
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);

  const cancel = async (order: Order): Promise<void> => {
    await eventually(
      `order ${order.number} is cancelled`,
      async () => {
        const { status, body } = await api.request('DELETE', `/v1/orders/${order.id}`, { token });
        expect([200, 202, 503]).toContain(status);
        return body.status === 'cancelled';
      },
      60,
    );
    expect(await stack.temporal.workflow.getHandle(order.workflowId).result()).toMatchObject({
      status: 'cancelled',
      paymentStatus: 'voided',
    });
  };
  await Promise.all(orders.map(cancel));
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
}

const newStock = async (sku: string): Promise<string> => {
  await stack.stock(sku, 1000);
  return sku;
};

test('the API is killed in the middle of a burst: what it accepted ends right when it is back', async () => {
  const sku = await newStock('API-KILLED');
  const { attempts, answers } = await burst(sku, 12, () => apiProcess.kill());
  expect(answers).toContain(undefined);
  ({ api, process: apiProcess } = await stack.startApi());
  await expectAllRight(sku, attempts, answers);
});

test('a worker is killed between reservation and reply: another one goes on, and takes nothing twice', async () => {
  const sku = await newStock('WORKER-KILLED');
  const { api: withoutWorker, process } = await stack.startApi({ API_WORKER: 'false' });
  await apiProcess.stop();
  const worker = await stack.startWorker();

  // Postgres lets the reservation through and holds back what the worker does after it: the company's answer to the
  // authorization stays unwritten, the mail unsent.
  await stack.db.transaction().execute(async (trx) => {
    const first = await withoutWorker.place(token, orderOf([{ sku, quantity: 1 }]), {
      prefer: 'respond-async',
    });
    await eventually('the stock is reserved', async () => {
      const row = await trx
        .selectFrom('ordering.orders')
        .select('id')
        .where('id', '=', first.body.id)
        .forUpdate()
        .executeTakeFirst();
      return row !== undefined;
    });
    await worker.kill();
  });
  await process.stop();
  ({ api, process: apiProcess } = await stack.startApi());
  const { rows } = { rows: await stack.db.selectFrom('ordering.orders').selectAll().execute() };
  const order = rows.toSorted((a, b) => b.created_at.getTime() - a.created_at.getTime())[0]!;
  const handle = stack.temporal.workflow.getHandle(`order-${order.id}`);
  await eventually('another worker took the workflow over', async () => {
    const state = await handle.query<{ status: string }>('status');
    return state.status === 'confirmed';
  });
  expect(await stack.reserved(sku)).toBe(1);
  await eventually(
    'the customer is told once',
    async () => (await stack.mailsAbout(order.number)).length === 1,
    60,
  );
  const { body: payments } = await api.request('GET', `/v1/orders/${order.id}/payments`, { token });
  expect(payments.data).toMatchObject([{ type: 'authorization', status: 'succeeded', amount: 1000 }]);
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
});

/** Waits until readiness says that orders are taken, though this part is down. */
const isDegraded = (part: string) =>
  eventually('readiness tells', async () => {
    const { status, body } = await api.request('GET', '/readyz');
    return status === 200 && body.status === 'degraded' && body.parts[part] === 'down';
  });

const isReady = () =>
  eventually(
    'the API is ready again',
    async () => (await api.request('GET', '/readyz')).body.status === 'ok',
    60,
  );

const metric = async (name: string): Promise<number> => {
  const { body } = await api.request<string>('GET', '/metrics');
  return Number(body.match(new RegExp(`^${name.replaceAll(/[{}"]/g, String.raw`\$&`)} (.*)$`, 'm'))?.[1]);
};

test('Temporal is away: orders are placed at once, and cancelled; their workflows follow when it is back', async () => {
  const sku = await newStock('TEMPORAL-KILLED');
  const before = await settle({ key: randomUUID(), sku });
  const { attempts, answers } = await burst(sku, 12, async () => {
    await temporal.kill();
  });
  for (const answer of answers) expect([201, 202]).toContain(answer!.status);
  await isDegraded('temporal');

  const key = randomUUID();
  const taken = await send({ key, sku });
  expect(taken).toMatchObject({ status: 202, body: { status: 'pending', total: 1000 } });
  expect(await stack.reserved(sku)).toBe(14);
  const read = await api.request('GET', `/v1/orders/${taken.body.id}`, { token });
  expect(read).toMatchObject({ status: 200, body: { status: 'pending' } });
  const repeated = await send({ key, sku });
  expect(repeated).toMatchObject({ status: 202, body: { id: taken.body.id } });
  expect(repeated.headers.get('idempotent-replayed')).toBe('true');
  const reused = await api.place(token, orderOf([{ sku, quantity: 2 }]), { 'idempotency-key': key });
  expect(reused).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
  const tooMany = await api.place(token, orderOf([{ sku, quantity: 5000 }]));
  expect(tooMany).toMatchObject({
    status: 201,
    body: { status: 'rejected', rejection: { items: [{ sku, requested: 5000, available: 986 }] } },
  });

  const unheard = await send({ key: randomUUID(), sku });
  for (const order of [before, unheard.body]) {
    const cancelled = await api.request('POST', `/v1/orders/${order.id}/cancel`, {
      token,
      body: { reason: 'too late' },
    });
    expect(cancelled).toMatchObject({
      status: 200,
      body: { status: 'cancelled', cancellation: { reason: 'too late' } },
    });
    const again = await api.request('DELETE', `/v1/orders/${order.id}`, { token });
    expect(again).toMatchObject({ status: 200, body: { status: 'cancelled' } });
  }
  expect(await stack.reserved(sku)).toBe(13);
  await expectStockAddsUp(stack.db);
  expect(await metric('holdfast_circuit_open{company="temporal"}')).toBeGreaterThan(0);
  expect(await metric('holdfast_orders_accepted_total{lane="direct"}')).toBeGreaterThanOrEqual(3);
  expect(await metric('holdfast_outbox_orders')).toBeGreaterThanOrEqual(4);
  const changed = await api.request('PATCH', `/v1/orders/${taken.body.id}`, {
    token,
    body: { note: 'hello' },
  });
  expect(changed).toMatchObject({ status: 503, body: { code: 'unavailable' } });
  expect(changed.headers.get('retry-after')).not.toBeNull();

  await apiProcess.kill();
  ({ api, process: apiProcess } = await stack.startApi());
  await isDegraded('temporal');
  const begunWithout = { key: randomUUID(), sku };
  const takenThen = await send(begunWithout);
  expect(takenThen).toMatchObject({ status: 202, body: { status: 'pending' } });
  temporal = await startTemporal(temporalOptions);
  await isReady();
  await eventually('every workflow was told', async () => (await metric('holdfast_outbox_orders')) === 0, 60);
  for (const { workflowId } of [before, unheard.body]) {
    const result = await stack.temporal.workflow.getHandle(workflowId).result();
    expect(result).toMatchObject({ status: 'cancelled', paymentStatus: 'voided', reason: 'too late' });
  }
  const rejected = stack.temporal.workflow.getHandle(tooMany.body.workflowId);
  expect(await rejected.result()).toMatchObject({ status: 'rejected' });
  await eventually(
    'the customer is told',
    async () => (await stack.mailsAbout(tooMany.body.number)).length === 1,
  );
  const events = await api.request('GET', `/v1/orders/${taken.body.id}/events`, { token });
  const types = events.body.data.map(({ type }: { type: string }) => type);
  expect(types).not.toContain('workflow.restarted');
  await expectAllRight(sku, [...attempts, { key, sku }, begunWithout], [...answers, taken, takenThen]);
});

test('Temporal does not answer any more: orders are placed all the same, soon without asking it', async () => {
  const sku = await newStock('TEMPORAL-HANGS');
  process.kill(temporal.pid, 'SIGSTOP');
  try {
    const attempts = Array.from({ length: 12 }, () => ({ key: randomUUID(), sku }));
    const waitSeconds = 30;
    const began = Date.now();
    const answers = await Promise.all(attempts.map((attempt) => send(attempt, api, waitSeconds)));
    expect(Date.now() - began).toBeLessThan(waitSeconds * 1000);
    for (const answer of answers) expect(answer).toMatchObject({ status: 202, body: { status: 'pending' } });
    expect(await stack.reserved(sku)).toBe(12);
    expect(await metric('holdfast_circuit_open{company="temporal"}')).toBeGreaterThan(0);

    // What is refused is refused, and the cart is there for the next try.
    await api.request('POST', '/v1/cart/items', { token, body: { sku, quantity: 1 } });
    const checkOut = (expectedTotal: number, key: string) => {
      const { shippingAddress, payment } = orderOf([]);
      const body = { shippingAddress, payment, expectedTotal };
      const headers = { 'idempotency-key': key, prefer: 'respond-async' };
      return api.request('POST', '/v1/cart/checkout', { token, body, headers });
    };
    expect(await checkOut(1, randomUUID())).toMatchObject({ status: 409, body: { code: 'price_changed' } });
    expect((await api.request('GET', '/v1/cart', { token })).body).toMatchObject({ status: 'open' });
    const ordered = { key: randomUUID(), sku };
    const checkedOut = await checkOut(1000, ordered.key);
    expect(checkedOut).toMatchObject({ status: 202, body: { status: 'pending', total: 1000 } });

    process.kill(temporal.pid, 'SIGCONT');
    await isReady();
    await eventually('what was checked out is cancelled', async () => {
      const { body } = await api.request('DELETE', `/v1/orders/${checkedOut.body.id}`, { token });
      return body.status === 'cancelled';
    });
    await expectAllRight(sku, attempts, answers);
  } finally {
    process.kill(temporal.pid, 'SIGCONT');
  }
});

test('Temporal answers too late for the start of a workflow: the buyer hears the outcome all the same', async () => {
  const sku = await newStock('TEMPORAL-LATE');
  const withoutWorker = await stack.startApi({ API_WORKER: 'false' });
  const claim = async () => {
    const { rows } = await sql<{ until: Date | null }>`
      select claimed_until as until from ordering.outbox join ordering.order_lines using (order_id) where sku = ${sku}
    `.execute(stack.db);
    return rows[0];
  };
  let own: Date | null | undefined;
  /** One that runs workflows has placed the order, and claimed its workflow, before it gives up; the other places it then. */
  const ways: [Api, () => Promise<boolean>][] = [
    [withoutWorker.api, async () => (await claim()) !== undefined],
    [
      api,
      async () => {
        const now = await claim();
        own ??= now?.until;
        return now?.until?.getTime() !== own?.getTime();
      },
    ],
  ];
  for (const [to, gaveUp] of ways) {
    process.kill(temporal.pid, 'SIGSTOP');
    try {
      const placed = to.place(token, orderOf([{ sku, quantity: 1 }]), { prefer: 'wait=30' });
      await eventually('the API no longer waits for the start', gaveUp, 20, 50);
      process.kill(temporal.pid, 'SIGCONT');
      expect(await placed).toMatchObject({ status: 201, body: { status: 'confirmed' } });
    } finally {
      process.kill(temporal.pid, 'SIGCONT');
    }
    await eventually('its workflow is told', async () => (await claim()) === undefined);
  }
  await withoutWorker.process.stop();
});

test('Temporal does not answer, as nobody knows yet: a cancellation is made, and a change refused, soon', async () => {
  const sku = await newStock('COMMANDED-WITHOUT');
  const [first, second] = await Promise.all([1, 2].map(() => settle({ key: randomUUID(), sku })));
  const waitSeconds = 30;
  const headers = { prefer: `wait=${waitSeconds}` };
  process.kill(temporal.pid, 'SIGSTOP');
  try {
    const began = Date.now();
    const [cancelled, changed] = await Promise.all([
      api.request('POST', `/v1/orders/${first!.id}/cancel`, { token, headers, body: {} }),
      api.request('PATCH', `/v1/orders/${second!.id}`, { token, headers, body: { note: 'hello' } }),
    ]);
    expect(Date.now() - began).toBeLessThan(waitSeconds * 1000);
    expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
    expect(changed).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    expect(await stack.reserved(sku)).toBe(1);
  } finally {
    process.kill(temporal.pid, 'SIGCONT');
  }
  await isReady();
  const handle = stack.temporal.workflow.getHandle(first!.workflowId);
  expect(await handle.result()).toMatchObject({ status: 'cancelled', paymentStatus: 'voided' });
  const change = () =>
    api.request('PATCH', `/v1/orders/${second!.id}`, { token, headers, body: { note: 'hello' } });
  await eventually('it is changed', async () => (await change()).body.note === 'hello');
  expect((await api.request('DELETE', `/v1/orders/${second!.id}`, { token })).body.status).toBe('cancelled');
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
});

test('Temporal does not answer: refunds and returns are made, once, and soon without asking it', async () => {
  const sku = await newStock('MADE-WITHOUT');
  const staff = await api.login('staff@example.com');
  const post = (path: string, body: object = {}, key: string = randomUUID()) =>
    api.request('POST', path, { token: staff, body, headers: { 'idempotency-key': key } });
  const { id, lines } = await settle({ key: randomUUID(), sku });
  const shipped = await post(`/v1/orders/${id}/shipments`, { carrier: 'UPS' });
  expect((await post(`/v1/shipments/${shipped.body.id}/deliver`)).status).toBe(200);
  const refund = (key: string) => post(`/v1/orders/${id}/refunds`, { amount: 100, reason: 'a scratch' }, key);
  const askBack = (key: string) =>
    post(`/v1/orders/${id}/returns`, { lines: [{ lineId: lines[0]!.id, quantity: 1 }], reason: 'big' }, key);

  const keys = Array.from({ length: 5 }, () => randomUUID());
  const [later, back] = [randomUUID(), randomUUID()];
  process.kill(temporal.pid, 'SIGSTOP');
  try {
    const began = Date.now();
    const [returned, ...refunds] = await Promise.all([askBack(back), ...keys.map(refund)]);
    const asking = Date.now() - began;
    expect(returned).toMatchObject({ status: 201, body: { status: 'requested' } });
    for (const made of refunds) expect(made).toMatchObject({ status: 201, body: { status: 'pending' } });
    expect(await metric('holdfast_circuit_open{company="temporal"}')).toBeGreaterThan(0);
    const leftAlone = Date.now();
    expect(await refund(later)).toMatchObject({ status: 201, body: { status: 'pending' } });
    expect(await askBack(back)).toMatchObject({ status: 201, body: returned.body });
    expect(Date.now() - leftAlone).toBeLessThan(asking);
    process.kill(temporal.pid, 'SIGCONT');
    await isReady();
    const isPaid = async (key: string) => (await refund(key)).body.status === 'succeeded';
    await Promise.all([...keys, later].map((key) => eventually('the refund is paid', () => isPaid(key))));
    for (const [command, status] of [
      ['approve', 'approved'],
      ['receive', 'refunded'],
    ]) {
      const answer = await post(`/v1/returns/${returned.body.id}/${command}`);
      expect(answer).toMatchObject({ status: 200, body: { status } });
    }
    const { body } = await api.request('GET', `/v1/orders/${id}/payments`, { token });
    const given = body.data.filter(({ type }: { type: string }) => type === 'refund');
    expect(given.map(({ amount }: { amount: number }) => amount)).toEqual([...Array(6).fill(100), 400]);
    await expectMoneyAddsUp(stack.db);
  } finally {
    process.kill(temporal.pid, 'SIGCONT');
  }
});

test('the API dies between placing orders and starting their workflows: those start all the same, unasked', async () => {
  const sku = await newStock('START-LOST');
  const attempts = Array.from({ length: 3 }, () => ({ key: randomUUID(), sku }));
  process.kill(temporal.pid, 'SIGSTOP');
  try {
    const lost = attempts.map((attempt) => send(attempt).catch(() => undefined));
    await eventually('the orders are placed', async () => (await stack.reserved(sku)) === attempts.length);
    await apiProcess.kill();
    expect(await Promise.all(lost)).toEqual(attempts.map(() => undefined));
  } finally {
    // What it was told while it hung is lost, too.
    await temporal.kill();
    temporal = await startTemporal(temporalOptions);
  }
  ({ api, process: apiProcess } = await stack.startApi());
  const placed = () =>
    stack.db.selectFrom('ordering.order_lines').select('order_id as id').where('sku', '=', sku).execute();
  for (const { id } of await placed()) {
    const isConfirmed = async () =>
      (await api.request('GET', `/v1/orders/${id}`, { token })).body.status === 'confirmed';
    await eventually(`order ${id} is confirmed`, isConfirmed, 60);
    const { body } = await api.request('GET', `/v1/orders/${id}/events`, { token });
    // It was never started before: reconcile, which heals what is lost, had nothing to heal.
    expect(JSON.stringify(body)).not.toContain('workflow.restarted');
  }
  await expectAllRight(sku, attempts, []);
});

test('Postgres is away: orders start all the same, and are placed when it is back', async () => {
  const sku = await newStock('POSTGRES-KILLED');
  const quoted = { key: randomUUID(), sku };
  const settled = await api.place(token, orderOf([{ sku, quantity: 1 }]), { 'idempotency-key': quoted.key });
  const { attempts, answers } = await burst(sku, 12, async () => {
    await postgres.kill();
  });
  await isDegraded('postgres');
  const key = randomUUID();
  const taken = await send({ key, sku });
  expect(taken).toMatchObject({ status: 202, body: { status: 'pending', total: 1000 } });
  const repeated = await send({ key, sku });
  expect(repeated).toMatchObject({ status: 202, body: { id: taken.body.id } });
  expect(repeated.headers.get('idempotent-replayed')).toBe('true');
  const reused = await api.place(token, orderOf([{ sku, quantity: 2 }]), { 'idempotency-key': key });
  expect(reused).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
  const read = await api.request('GET', `/v1/orders/${taken.body.id}`, { token });
  expect(read).toMatchObject({ status: 200, body: { status: 'pending' } });
  const others = await api.login('jane.doe@example.com').catch(() => undefined);
  expect(others).toBeUndefined();
  const unknown = await api.place(token, orderOf([{ sku: 'NEVER-ORDERED', quantity: 1 }]));
  expect(unknown).toMatchObject({ status: 503, body: { code: 'unavailable' } });
  expect(unknown.headers.get('retry-after')).not.toBeNull();

  postgres = await startPostgres(postgresOptions);
  await isReady();
  await expectAllRight(sku, [...attempts, quoted, { key, sku }], [...answers, settled, taken]);
});

test('Postgres and Temporal are away: nothing is taken, and the API says so', async () => {
  const sku = await newStock('BOTH-KILLED');
  const known = await settle({ key: randomUUID(), sku });
  await Promise.all([postgres.kill(), temporal.kill()]);
  await eventually('readiness tells', async () => (await api.request('GET', '/readyz')).status === 503);
  const refused = await send({ key: randomUUID(), sku });
  expect(refused).toMatchObject({ status: 503, body: { code: 'unavailable' } });
  expect(refused.headers.get('retry-after')).not.toBeNull();
  expect((await api.request('GET', '/livez')).status).toBe(200);

  [postgres, temporal] = await Promise.all([startPostgres(postgresOptions), startTemporal(temporalOptions)]);
  await isReady();
  expect(await stack.reserved(sku)).toBe(1);
  expect(await api.request('GET', `/v1/orders/${known.id}`, { token })).toMatchObject({ status: 200 });
});

test('an order that is changed more often than a run of a workflow may be goes on, and is shipped', async () => {
  const sku = await newStock('CHANGED-OFTEN');
  const order = await settle({ key: randomUUID(), sku });
  const handle = stack.temporal.workflow.getHandle(order.workflowId);
  const { runId } = await handle.describe();
  for (let change = 0; change < 2 * MOST_UPDATES; change += 1) {
    const body = { note: `Change ${change}` };
    const { status } = await api.request('PATCH', `/v1/orders/${order.id}`, { token, body });
    expect(status).toBe(200);
  }
  const now = await handle.describe();
  expect(now).toMatchObject({ status: { name: 'RUNNING' } });
  expect(now.runId).not.toBe(runId);
  const metadata = await handle.query('__temporal_workflow_metadata');
  expect(metadata).toMatchObject({ currentDetails: expect.stringContaining(order.number) });
  expect(now.typedSearchAttributes.get(ORDER_STATUS)).toBe('confirmed');

  const staff = await api.login('staff@example.com');
  const body = { carrier: 'UPS' };
  const shipped = await api.request('POST', `/v1/orders/${order.id}/shipments`, { token: staff, body });
  expect(shipped.status).toBe(201);
  await api.request('POST', `/v1/shipments/${shipped.body.id}/deliver`, { token: staff });
  expect(await handle.result()).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
  const { body: events } = await api.request('GET', `/v1/orders/${order.id}/events`, { token });
  const types = events.data.map(({ type }: { type: string }) => type);
  expect(types.filter((type: string) => type === 'stock.reserved')).toHaveLength(1);
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
});

test('a clean stop in the middle of a burst answers what it has begun', async () => {
  const sku = await newStock('CLEAN-STOP');
  const attempts = Array.from({ length: 8 }, () => ({ key: randomUUID(), sku }));
  const answers = attempts.map((attempt) => send(attempt).catch(() => undefined));
  await answers[0];
  expect(await apiProcess.stop()).toBe(0);
  const answered = await Promise.all(answers);
  ({ api, process: apiProcess } = await stack.startApi());
  await expectAllRight(sku, attempts, answered);
});

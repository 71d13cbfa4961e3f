import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import spec from '../sdk/openapi.json' with { type: 'json' };
import { createClient, dataOf, type PlaceOrder, ProblemError } from '../sdk/client.ts';
import { type FaultyProxy, startFaultyProxy } from './harness/faulty-proxy.ts';
import { address } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { readDescription } from './harness/openapi.ts';
import { startStack, type TestStack } from './harness/stack.ts';

let stack: TestStack;
let proxy: FaultyProxy;
let api: ReturnType<typeof createClient>;
beforeAll(async () => {
  stack = await startStack();
  proxy = await startFaultyProxy(stack.api.url);
});
beforeEach(async () => {
  proxy.target = stack.api.url;
  api = createClient({ baseUrl: proxy.url });
  await api.logIn('john.smith@example.com', 'demo-password');
  proxy.seen = [];
});
afterAll(async () => {
  proxy.close();
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});

const good: PlaceOrder = {
  lines: [{ sku: 'MOUSE-WL', quantity: 1 }],
  shippingAddress: address,
  payment: { method: 'card', token: 'tok_ok' },
};
const place = (body = good) => dataOf(api.POST('/v1/orders', { body }));
const countOrders = async () => (await stack.db.selectFrom('ordering.orders').select('id').execute()).length;
const thrown = (call: Promise<unknown>): Promise<ProblemError> =>
  call.then(
    () => expect.fail('nothing was thrown'),
    (error: unknown) => (error instanceof ProblemError ? error : Promise.reject(error)),
  );

describe('the client', () => {
  test('drives an order from the shop to the door', async () => {
    const order = await place();
    expect(order).toMatchObject({ status: 'confirmed', total: 2999 });
    const path = { id: order.id };
    const staff = createClient({ baseUrl: stack.api.url, token: stack.tokens.staff });
    const shipment = await dataOf(
      staff.POST('/v1/orders/{id}/shipments', { params: { path }, body: { carrier: 'UPS' } }),
    );
    await staff.POST('/v1/shipments/{id}/deliver', { params: { path: { id: shipment.id } } });
    const read = await dataOf(api.GET('/v1/orders/{id}', { params: { path } }));
    expect(read).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
    const events = await dataOf(
      api.GET('/v1/orders/{id}/events', { params: { path, query: { limit: 100 } } }),
    );
    expect(events.data.map(({ type }) => type)).toContain('shipment.delivered');
  });

  test('throws what the API refuses, with its code and the fields that are wrong', async () => {
    const refused = await thrown(place({ ...good, lines: [{ sku: 'NO-SUCH', quantity: 1 }] }));
    expect(refused).toMatchObject({ status: 422, code: 'validation_failed' });
    expect(refused.problem?.errors).toMatchObject([{ pointer: '/lines/0/sku' }]);
    const unknown = createClient({ baseUrl: stack.api.url });
    const login = unknown.logIn('john.smith@example.com', 'wrong');
    expect(await thrown(login)).toMatchObject({ status: 401, code: 'invalid_credentials' });
    expect(await thrown(unknown.GET('/v1/orders'))).toMatchObject({ code: 'unauthenticated' });
    proxy.faults = [502];
    expect(await thrown(api.GET('/v1/orders'))).toMatchObject({ status: 502, code: 'unexpected_answer' });
  });

  test('places one order though answers are lost, the API is down, and asks it to slow down', async () => {
    const before = await countOrders();
    proxy.faults = ['lost', 503, 429, 'lost'];
    const order = await place();
    expect(order.status).toBe('confirmed');
    expect(await countOrders()).toBe(before + 1);
    expect(new Set(proxy.seen.map(({ headers }) => headers['idempotency-key']))).toHaveProperty('size', 1);
    expect(proxy.seen).toHaveLength(5);
    const other = await place();
    expect(other.id).not.toBe(order.id);
  });

  test('gives up in the end', async () => {
    const hasty = createClient({ baseUrl: proxy.url, retries: 1 });
    proxy.faults = [503, 503];
    expect(await thrown(hasty.GET('/v1/products'))).toMatchObject({ status: 503 });
    proxy.faults = ['lost', 'lost'];
    await expect(hasty.GET('/v1/products')).rejects.toThrow(TypeError);
    expect(proxy.faults).toEqual([]);
  });

  test('does not send again what may have happened and has no key', async () => {
    const { id } = await place();
    proxy.faults = ['lost'];
    const change = api.PATCH('/v1/orders/{id}', { params: { path: { id } }, body: { note: 'ring twice' } });
    await expect(change).rejects.toThrow(TypeError);
    proxy.faults = [429];
    const changed = await dataOf(
      api.PATCH('/v1/orders/{id}', { params: { path: { id } }, body: { note: 'ring thrice' } }),
    );
    expect(changed.note).toBe('ring thrice');
  });

  test('renews its login once for all calls that find it expired', async () => {
    const { api: rotated } = await stack.startApi({
      JWT_SECRET: 'another-secret-that-no-old-token-is-signed-with',
    });
    proxy.target = rotated.url;
    const lists = await Promise.all([1, 2, 3].map(() => dataOf(api.GET('/v1/orders'))));
    expect(lists.every(({ data }) => Array.isArray(data))).toBe(true);
    expect(proxy.seen.filter(({ line }) => line === 'POST /v1/auth/refresh')).toHaveLength(1);
    await api.logOut();
    expect(await thrown(api.GET('/v1/orders'))).toMatchObject({ code: 'unauthenticated' });
  });
});

test('changes a password, and goes on with the new login', async () => {
  const client = createClient({ baseUrl: stack.api.url });
  const email = `${crypto.randomUUID()}@example.com`;
  await client.POST('/v1/auth/register', { body: { email, password: 'the first one', name: 'Pat' } });
  await client.changePassword({ email, password: 'the first one', newPassword: 'the second one' });
  expect(await dataOf(client.GET('/v1/orders'))).toMatchObject({ data: [] });
  expect(await thrown(client.logIn(email, 'the first one'))).toMatchObject({ code: 'invalid_credentials' });
});

test('the description that the client is made from is what the API says', async () => {
  expect(await readDescription(stack.api)).toEqual(spec);
});

test('the package has the client as holdfast/client, with its types', async () => {
  const root = join(import.meta.dirname, '..');
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-package-'));
  try {
    const run = promisify(execFile);
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    await run(process.execPath, [
      tsc,
      '-p',
      join(root, 'tsconfig.sdk.json'),
      '--outDir',
      join(folder, 'dist'),
    ]);
    writeFileSync(
      join(folder, 'consumer.ts'),
      `import { createClient, dataOf, type Order } from 'holdfast/client';
       const api = createClient({ baseUrl: '${stack.api.url}', token: process.argv[2]! });
       const { data } = await dataOf(api.GET('/v1/orders', { params: { query: { limit: 1 } } }));
       const city: string | undefined = data.map((order: Order) => order.shippingAddress.city)[0];
       // @ts-expect-error: there is no such filter
       void (() => api.GET('/v1/orders', { params: { query: { colour: 'red' } } }));
       console.log(city);`,
    );
    const options = ['--strict', '--module', 'nodenext', '--target', 'es2023', '--types', 'node'];
    await run(process.execPath, [tsc, ...options, 'consumer.ts'], { cwd: folder });
    const { stdout } = await run(process.execPath, ['consumer.js', stack.tokens.john], { cwd: folder });
    expect(stdout.trim()).toBe(address.city);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

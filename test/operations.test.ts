import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Stripe } from 'stripe';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, type Api, orderOf } from './harness/http.ts';
import { conforming, type Description, newAjv, readDescription } from './harness/openapi.ts';
import { expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';

const REQUESTS_A_MINUTE = 40;
const LOGINS_A_MINUTE = 3;
const STRIPE_WEBHOOK_SECRET = 'whsec_only_used_by_these_tests';

let stack: TestStack;
let api: Api;
/** An API process that limits its callers, and knows Stripe. */
let strict: Api;
beforeAll(async () => {
  stack = await startStack();
  const environment = {
    RATE_LIMIT_PER_MINUTE: String(REQUESTS_A_MINUTE),
    LOGIN_LIMIT_PER_MINUTE: String(LOGINS_A_MINUTE),
    STRIPE_API_KEY: 'sk_test_only_used_by_these_tests',
    STRIPE_WEBHOOK_SECRET,
    API_WORKER: 'false',
  };
  [api, strict] = await Promise.all([
    conforming(stack.api),
    stack.startApi(environment).then((started) => started.api),
  ]);
});
afterAll(() => stack.stop());

describe('an operator', () => {
  test('sees that the process lives', async () => {
    expect(await api.request('GET', '/livez')).toMatchObject({ status: 200, body: { status: 'ok' } });
  });

  test('sees that orders can be taken and that every part answers', async () => {
    const ready = await api.request('GET', '/readyz');
    expect(ready).toMatchObject({ status: 200, body: { status: 'ok' } });
    expect(ready.headers.get('cache-control')).toBe('no-store');
    expect(Object.keys(ready.body.parts)).toEqual(expect.arrayContaining(['postgres', 'temporal', 'smtp']));
    expect(new Set(Object.values(ready.body.parts))).toEqual(new Set(['ok']));
  });

  test('who gives Stripe’s keys hears of Stripe, beside the company that new orders pay through', async () => {
    const event = { id: 'evt_1', object: 'event', type: 'customer.created', data: { object: {} } };
    const raw = JSON.stringify(event);
    const heard = (secret: string) =>
      strict.request('POST', '/v1/payments/stripe/webhook', {
        raw,
        headers: {
          'stripe-signature': Stripe.webhooks.generateTestHeaderString({ payload: raw, secret }),
        },
      });
    expect(await heard(STRIPE_WEBHOOK_SECRET)).toMatchObject({ status: 200, body: { received: true } });
    expectProblem(await heard('whsec_of_somebody_else'), 401, 'invalid_signature');
    const unsigned = await strict.request('POST', '/v1/payments/mock/webhook', { raw });
    expectProblem(unsigned, 401, 'invalid_signature');
  });

  test('reads metrics of HTTP, pool, Temporal SDK, process, and orders by outcome', async () => {
    const count = async (line: string) => {
      const { body, headers, status } = await api.request<string>('GET', '/metrics');
      expect(status).toBe(200);
      expect(headers.get('content-type')).toMatch(/^text\/plain/);
      const found = body.split('\n').find((one) => one.startsWith(line));
      return found === undefined ? undefined : Number(found.split(' ').at(-1));
    };
    await stack.stock('METERED', 1);
    const confirmed = (await count('holdfast_orders_total{outcome="confirmed"}'))!;
    const rejected = (await count('holdfast_orders_total{outcome="rejected"}'))!;
    const cancelled = (await count('holdfast_orders_total{outcome="cancelled"}'))!;
    const shipped = (await count('holdfast_orders_total{outcome="shipped"}')) ?? 0;
    const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'METERED', quantity: 1 }]));
    await stack.api.place(stack.tokens.john, orderOf([{ sku: 'METERED', quantity: 1 }]));
    await stack.api.request('DELETE', `/v1/orders/${body.id}`, { token: stack.tokens.john });
    const sent = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'METERED', quantity: 1 }]));
    await stack.api.request('POST', `/v1/orders/${sent.body.id}/shipments`, {
      token: stack.tokens.staff,
      body: { carrier: 'UPS' },
    });

    expect(await count('holdfast_orders_total{outcome="confirmed"}')).toBe(confirmed + 2);
    expect(await count('holdfast_orders_total{outcome="shipped"}')).toBe(shipped + 1);
    expect(await count('holdfast_orders_total{outcome="rejected"}')).toBe(rejected + 1);
    expect(await count('holdfast_orders_total{outcome="cancelled"}')).toBe(cancelled + 1);
    const posts =
      'holdfast_http_request_duration_seconds_count{method="POST",route="/v1/orders",status="201"}';
    expect(await count(posts)).toBe(3);
    expect(await count('holdfast_pool_connections{state="idle"}')).toBeGreaterThanOrEqual(0);
    expect(await count('temporal_')).toBeDefined();
    expect(await count('process_resident_memory_bytes')).toBeGreaterThan(0);
  });

  test('finds the same series however many orders and products are asked for', async () => {
    await Promise.all(
      Array.from({ length: 5 }, () =>
        stack.api.request('GET', `/v1/orders/${randomUUID()}`, { token: stack.tokens.john }),
      ),
    );
    const { body } = await api.request<string>('GET', '/metrics');
    expect(body).not.toMatch(/route="[^"]*[0-9a-f]{8}-[0-9a-f]{4}/);
  });
});

describe('the description at /openapi.json', () => {
  let description: Description;
  beforeAll(async () => {
    description = await readDescription(stack.api);
  });

  test('is a valid OpenAPI 3.1 document', () => {
    // Ajv follows a $dynamicRef wrongly here; nothing overrides the anchor, so it is an ordinary reference.
    const schema = readFileSync(new URL('schemas/openapi-3.1.json', import.meta.url), 'utf8').replaceAll(
      /"\$dynamicRef": "#meta"/g,
      '"$ref": "#/$defs/schema"',
    );
    const validate = newAjv().compile(JSON.parse(schema) as object);
    validate(description);
    expect(validate.errors ?? []).toEqual([]);
    expect(description.openapi).toMatch(/^3\.1\./);
  });

  test('has only schemas that a JSON Schema 2020-12 validator takes, and patterns that work', () => {
    const ajv = newAjv().addSchema(description, 'api');
    const pointers: string[] = [];
    const patterns: string[] = [];
    const walk = (node: unknown, pointer: string): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const [name, value] of Object.entries(node)) {
        const part = encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'));
        if (name === 'schema') pointers.push(`${pointer}/schema`);
        if (name === 'pattern') patterns.push(String(value));
        walk(value, `${pointer}/${part}`);
      }
    };
    walk(description, '');
    expect(pointers.length).toBeGreaterThan(50);
    for (const pointer of pointers)
      expect(() => ajv.compile({ $ref: `api#${pointer}` }), pointer).not.toThrow();
    expect(patterns.filter((pattern) => !pattern.endsWith('$'))).toEqual([]);
  });

  test('names every endpoint of this release', () => {
    const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(operations).toEqual(
      expect.arrayContaining([
        'POST /v1/auth/login',
        'POST /v1/auth/refresh',
        'POST /v1/auth/logout',
        'POST /v1/orders',
        'GET /v1/orders',
        'GET /v1/orders/{id}',
        'DELETE /v1/orders/{id}',
        'GET /v1/orders/{id}/events',
        'PATCH /v1/orders/{id}',
        'POST /v1/orders/{id}/cancel',
        'POST /v1/orders/{id}/shipments',
        'GET /v1/shipments/{id}',
        'PATCH /v1/shipments/{id}',
        'POST /v1/shipments/{id}/deliver',
        'POST /v1/carriers/{name}/webhook',
        'GET /v1/orders/{id}/payments',
        'POST /v1/orders/{id}/refunds',
        'POST /v1/payments/{name}/webhook',
        'POST /v1/orders/{id}/returns',
        'GET /v1/returns/{id}',
        'POST /v1/returns/{id}/approve',
        'POST /v1/returns/{id}/reject',
        'POST /v1/returns/{id}/receive',
        'GET /v1/inventory',
        'GET /v1/inventory/summary',
        'GET /v1/inventory/{sku}',
        'PUT /v1/inventory/{sku}',
        'DELETE /v1/inventory/{sku}',
        'POST /v1/inventory/{sku}/adjustments',
        'POST /v1/products',
        'PUT /v1/products/{sku}',
        'PATCH /v1/products/{sku}',
        'DELETE /v1/products/{sku}',
        'POST /v1/imports',
        'GET /v1/imports/{id}',
        'GET /v1/exports/products',
        'GET /v1/exports/inventory',
        'GET /v1/exports/orders',
        'GET /v1/inventory/{sku}/movements',
        'GET /v1/products',
        'GET /v1/products/{sku}',
        'POST /v1/notifications',
        'GET /v1/notifications',
        'GET /v1/notifications/{id}',
        'POST /v1/notifications/replay',
        'POST /v1/notifications/{id}/replay',
        'GET /v1/notification-templates',
        'GET /v1/notification-templates/{name}/preview',
        'GET /v1/customers/{id}/notification-preferences',
        'PUT /v1/customers/{id}/notification-preferences',
        'GET /livez',
        'GET /readyz',
        'GET /metrics',
      ]),
    );
  });

  test('names nothing that does not exist, and each operation once', async () => {
    const ids = Object.values(description.paths).flatMap((methods) =>
      Object.values(methods).map((operation) => operation.operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
    for (const [path, methods] of Object.entries(description.paths)) {
      for (const method of Object.keys(methods)) {
        // With a query that nobody knows a stream ends at once, too.
        const real = `${path.replaceAll(/\{\w+\}/g, 'x-1')}?unknown=1`;
        const { status, body } = await stack.api.request(method.toUpperCase(), real, {
          token: stack.tokens.admin,
        });
        expect(status, `${method} ${path}`).not.toBe(405);
        expect(JSON.stringify(body), `${method} ${path}`).not.toContain('There is nothing at');
      }
    }
  });

  test('says what a request takes: an order number fits the path, an unknown field does not fit the body', () => {
    const ajv = newAjv().addSchema(description, 'api');
    const { parameters } = description.paths['/v1/orders/{id}']!.get!;
    const id = parameters!.find(({ name }) => name === 'id')!.schema;
    expect(ajv.validate(id, '74HA0-0S76R')).toBe(true);
    expect(ajv.validate(id, randomUUID())).toBe(true);
    expect(ajv.validate(id, 'nonsense')).toBe(false);
    const placing = { $ref: 'api#/components/schemas/PlaceOrder' };
    expect(ajv.validate(placing, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]))).toBe(true);
    expect(ajv.validate(placing, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }], { surprise: 1 }))).toBe(false);
    expect(ajv.validate(placing, orderOf([{ sku: 'MOUSE-WL', quantity: 0 }]))).toBe(false);
  });
});

test('the pages at /docs load everything they need from here and show /openapi.json', async () => {
  const page = await stack.api.request<string>('GET', '/docs');
  expect(page.status).toBe(200);
  expect(page.headers.get('content-type')).toMatch(/^text\/html/);
  const assets = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]!);
  expect(assets.length).toBeGreaterThan(3);
  let scripts = '';
  for (const asset of assets) {
    const url = new URL(asset, `${stack.api.url}/docs/`);
    expect(url.origin).toBe(stack.api.url);
    const loaded = await stack.api.request<string>('GET', url.pathname);
    expect(loaded.status, asset).toBe(200);
    if (asset.endsWith('initializer.js')) scripts += loaded.body;
  }
  expect(scripts).toContain("url: '/openapi.json'");
  expect(page.body).not.toMatch(/<script(?![^>]*src=)[^>]*>\s*\S/);
  expect(page.headers.get('content-security-policy')).toContain("script-src 'self'");
});

describe('every answer', () => {
  const probes: [string, string][] = [
    ['GET', '/livez'],
    ['GET', '/v1/products'],
    ['GET', '/v1/orders'],
    ['GET', '/nowhere'],
    ['PUT', '/v1/orders'],
    ['GET', '/openapi.json'],
    ['GET', '/docs/'],
    ['OPTIONS', '/v1/orders'],
  ];

  test.each(probes)(
    'to %s %s carries a request id, and says nothing of what it runs on',
    async (method, path) => {
      const own = await stack.api.request(method, path);
      expect(own.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
      expect(own.headers.get('server')).toBeNull();
      expect(own.headers.get('x-powered-by')).toBeNull();
      const given = await stack.api.request(method, path, { headers: { 'x-request-id': 'trace/42' } });
      expect(given.headers.get('x-request-id')).toBe('trace/42');
    },
  );

  test('replaces a request id that is no good', async () => {
    for (const bad of ['x'.repeat(201), 'a b', 'é', ' ']) {
      const { headers } = await stack.api.request('GET', '/livez', { headers: { 'x-request-id': bad } });
      expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  test('of an error names the same request id in its body', async () => {
    const answer = await stack.api.request('GET', '/v1/orders', { headers: { 'x-request-id': 'trace-43' } });
    expectProblem(answer, 401, 'unauthenticated');
    expect(answer.body.requestId).toBe('trace-43');
  });
});

describe('a method that a path does not take', () => {
  test.each([
    ['PUT', '/v1/orders', ['GET', 'HEAD', 'POST']],
    ['PATCH', `/v1/orders/${randomUUID()}/cancel`, ['POST']],
    ['GET', `/v1/orders/${randomUUID()}/shipments`, ['POST']],
    ['POST', `/v1/orders/${randomUUID()}/payments`, ['GET', 'HEAD']],
    ['DELETE', `/v1/shipments/${randomUUID()}`, ['GET', 'HEAD', 'PATCH']],
    ['GET', '/v1/payments/mock/webhook', ['POST']],
    ['POST', '/v1/products/MOUSE-WL', ['DELETE', 'GET', 'HEAD', 'PATCH', 'PUT']],
    ['PATCH', '/v1/inventory/MOUSE-WL', ['DELETE', 'GET', 'HEAD', 'PUT']],
    ['POST', '/v1/inventory/summary', ['GET', 'HEAD']],
    ['DELETE', '/v1/inventory/summary', ['GET', 'HEAD']],
    ['GET', '/v1/notifications/replay', ['POST']],
    ['GET', '/v1/auth/login', ['POST']],
    ['DELETE', '/livez', ['GET', 'HEAD']],
  ])('%s %s is told which ones it does', async (method, path, allowed) => {
    const answer = await stack.api.request(method, path, { token: stack.tokens.admin });
    expectProblem(answer, 405, 'method_not_allowed');
    expect(answer.headers.get('allow')!.split(', ').toSorted()).toEqual(allowed);
  });

  test.each(['/openapi.json', '/docs/'])('POST %s too', async (path) => {
    const answer = await stack.api.request('POST', path);
    expectProblem(answer, 405, 'method_not_allowed');
    expect(answer.headers.get('allow')).toContain('GET');
  });

  test('is not told of a path that does not exist: 404', async () => {
    for (const path of [
      '/',
      '/v1',
      '/v1/',
      '/v1/nothing',
      '/v1/products/',
      '/v2/orders',
      '/v1/orders/x/y/z',
    ]) {
      for (const method of ['GET', 'POST', 'DELETE'])
        expectProblem(await stack.api.request(method, path), 404, 'not_found');
    }
  });

  test('HEAD answers as GET does, without a body; OPTIONS says what is allowed', async () => {
    const read = await stack.api.request('GET', '/v1/products/MOUSE-WL');
    const head = await stack.api.request('HEAD', '/v1/products/MOUSE-WL');
    expect(head).toMatchObject({ status: 200, body: '' });
    expect(head.headers.get('etag')).toBe(read.headers.get('etag'));
    expect((await stack.api.request('HEAD', '/v1/orders')).status).toBe(401);
    expect((await stack.api.request('HEAD', '/nowhere')).status).toBe(404);
    const options = await stack.api.request('OPTIONS', '/v1/orders');
    expect(options.status).toBeLessThan(300);
    expect(options.headers.get('allow')).toMatch(/POST/);
  });
});

describe('a caller that asks too often', () => {
  const policy = (answer: Answer, quota: number) => {
    expect(answer.headers.get('ratelimit-policy')).toMatch(new RegExp(`^"[^"]+"; ?q=${quota}; ?w=60(;|$)`));
    const limit = answer.headers.get('ratelimit')!.match(/^"[^"]+"; ?r=(\d+); ?t=(\d+)$/);
    expect(limit, answer.headers.get('ratelimit')!).not.toBeNull();
    expect(Number(limit![2])).toBeLessThanOrEqual(60);
    return Number(limit![1]);
  };

  test('is told what is left, then 429 and when to come back; others go on', async () => {
    const remaining: number[] = [];
    const ask = (token: string) => strict.request('GET', '/v1/orders?limit=1', { token });
    for (let index = 0; index < REQUESTS_A_MINUTE; index += 1) {
      const answer = await ask(stack.tokens.john);
      expect(answer.status).toBe(200);
      remaining.push(policy(answer, REQUESTS_A_MINUTE));
    }
    expect(remaining).toEqual(Array.from({ length: REQUESTS_A_MINUTE }, (_, n) => REQUESTS_A_MINUTE - 1 - n));
    const refused = await ask(stack.tokens.john);
    expectProblem(refused, 429, 'rate_limited');
    expect(policy(refused, REQUESTS_A_MINUTE)).toBe(0);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60);
    expect((await ask(stack.tokens.jane)).status).toBe(200);
  });

  test('places no order with the request that is refused', async () => {
    const count = async () =>
      (
        await stack.db
          .selectFrom('ordering.orders')
          .select((builder) => builder.fn.countAll().as('orders'))
          .executeTakeFirstOrThrow()
      ).orders;
    const before = await count();
    const spent = await strict.request('GET', '/v1/orders?limit=1', { token: stack.tokens.john });
    expect(spent.status).toBe(429);
    const refused = await strict.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    expectProblem(refused, 429, 'rate_limited');
    expect(await count()).toBe(before);
  });
});

describe('somebody who guesses passwords', () => {
  test('of one account is stopped, also with the right one, and told when to come back', async () => {
    const login = (email: string, password: string) =>
      strict.request('POST', '/v1/auth/login', { body: { email, password } });
    for (let index = 0; index < LOGINS_A_MINUTE; index += 1)
      expectProblem(await login('jane.doe@example.com', `guess ${index}`), 401, 'invalid_credentials');
    const refused = await login('jane.doe@example.com', 'demo-password');
    expectProblem(refused, 429, 'rate_limited');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60);

    for (const disguise of ['JANE.DOE@example.com', 'jane.doe@example.com\0', 'ja\0ne.doe@example.com'])
      expect((await login(disguise, 'demo-password')).status, JSON.stringify(disguise)).toBe(429);
    expect((await login('john.smith@example.com', 'demo-password')).status).toBe(200);
  });

  test('a right password forgives the wrong ones before it', async () => {
    const login = async (password: string) =>
      (
        await strict.request('POST', '/v1/auth/login', {
          body: { email: 'emily.davis@example.com', password },
        })
      ).status;
    for (let round = 0; round < 3; round += 1)
      expect([await login('wrong'), await login('wrong'), await login('demo-password')]).toEqual([
        401, 401, 200,
      ]);
  });
});

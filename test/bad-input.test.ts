import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answerClientErrors } from '../api/client-errors.ts';
import { EXAMPLE_WEBHOOK_SECRET } from '../config/env.ts';
import { signMockWebhook } from '../providers/webhooks/standard-webhooks.ts';
import { address, type Answer, type Api, orderOf, type RequestOptions } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { conforming } from './harness/openapi.ts';
import { expectNoFault, expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
let api: Api;
beforeAll(async () => {
  stack = await startStack();
  api = await conforming(stack.api);
  await stack.stock('INACTIVE', 5);
  await stack.db
    .updateTable('catalogue.products')
    .set({ active: false })
    .where('sku', '=', 'INACTIVE')
    .execute();
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});

const good = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]);
const post = (options: RequestOptions) =>
  api.request('POST', '/v1/orders', {
    token: stack.tokens.john,
    ...options,
    headers: { 'idempotency-key': randomUUID(), ...options.headers },
  });
const list = (query: string) => api.request('GET', `/v1/orders?${query}`, { token: stack.tokens.staff });

/** Texts with what to call them: long ones would make long names. */
const named = (texts: string[]): [string, string][] =>
  texts.map((text) => [
    text.length > 60 ? `${text.slice(0, 20)}… (${text.length})` : JSON.stringify(text),
    text,
  ]);

/** How many orders, lines, movements, keys and products there are: what no bad request changes. */
async function everything(): Promise<object> {
  const { rows } = await sql<object>`
    select (select count(*) from ordering.orders) as orders, (select count(*) from ordering.order_lines) as lines,
      (select count(*) from inventory.movements) as movements, (select count(*) from identity.idempotency_keys) as keys,
      (select count(*) from catalogue.products) as products, (select count(*) from identity.users) as users,
      (select sum(version) from inventory.stock) as stock_versions,
      (select count(*) from ordering.shipments) as shipments, (select count(*) from ordering.returns) as returns,
      (select count(*) from ordering.payments where type in ('capture', 'refund')) as payments
  `.execute(stack.db);
  return rows[0]!;
}

/** Runs bad requests and makes sure that they left nothing behind. */
async function leavingNothing(run: () => Promise<void>): Promise<void> {
  const before = await everything();
  await run();
  expect(await everything()).toEqual(before);
}

describe('a body that is no JSON', () => {
  test.each(
    named([
      '{',
      '{"lines":',
      '{"lines": [}',
      "{'lines': 1}",
      '{"a":1,}',
      'lines=1',
      '<order/>',
      'undefined',
      'NaN',
      ' ',
      '{} {}',
      '\u0000',
      '"\ud800',
      '['.repeat(200_000),
      '{"a":'.repeat(40_000),
    ]),
  )('is told: %s', async (_name, raw) => {
    await leavingNothing(async () => expectProblem(await post({ raw }), 400, 'invalid_json'));
  });

  test('but bytes that are no text, or packed ones that are broken, is told', async () => {
    expectProblem(await post({ raw: Buffer.from([0xff, 0xfe, 0x7b, 0x00]) }), 400, 'invalid_json');
    const broken = await post({ raw: '{}', headers: { 'content-encoding': 'gzip' } });
    expectNoFault(broken);
    expect(broken.status).toBe(400);
  });

  test.each(['PUT /v1/inventory/MOUSE-WL', 'POST /v1/inventory/MOUSE-WL/adjustments', 'POST /v1/auth/login'])(
    'is told at %s too',
    async (endpoint) => {
      const [method, path] = endpoint.split(' ') as [string, string];
      const answer = await api.request(method, path, { token: stack.tokens.staff, raw: '{"a' });
      expectProblem(answer, 400, 'invalid_json');
    },
  );
});

describe('a body that is no object', () => {
  test.each(['null', '[]', '[{}]', '"text"', '42', 'true', '0', '""'])('is told: %s', async (raw) => {
    await leavingNothing(async () => {
      expectProblem(await post({ raw }), 422, 'validation_failed', '');
      const staff = { token: stack.tokens.staff, raw };
      expectProblem(await api.request('PUT', '/v1/inventory/MOUSE-WL', staff), 422, 'validation_failed', '');
      const adjusted = await api.request('POST', '/v1/inventory/MOUSE-WL/adjustments', staff);
      expectProblem(adjusted, 422, 'validation_failed', '');
      expectProblem(await api.request('POST', '/v1/auth/login', { raw }), 422, 'validation_failed', '');
    });
  });

  test('or is not there at all, is told; cancelling needs none', async () => {
    expectProblem(await post({}), 422, 'validation_failed', '');
    expectProblem(await post({ raw: Buffer.alloc(0) }), 422, 'validation_failed');
    const missing = await api.request('POST', `/v1/orders/${randomUUID()}/cancel`, {
      token: stack.tokens.john,
    });
    expectProblem(missing, 404, 'not_found');
  });
});

describe('an order with', () => {
  const line = { sku: 'MOUSE-WL', quantity: 1 };
  const without = (name: string) => Object.fromEntries(Object.entries(good).filter(([key]) => key !== name));
  const quantityOf = (quantity: unknown) => ({ ...good, lines: [line, { sku: 'KEYBOARD-MX', quantity }] });
  const ordering = (sku: unknown) => ({ ...good, lines: [{ sku, quantity: 1 }] });
  const at = (changes: object) => ({ ...good, shippingAddress: { ...address, ...changes } });
  const by = (payment: unknown) => ({ ...good, payment });

  const wrong: [string, unknown, string][] = [
    ['quantity 0', quantityOf(0), '/lines/1/quantity'],
    ['quantity -0', quantityOf(-0), '/lines/1/quantity'],
    ['a negative quantity', quantityOf(-1), '/lines/1/quantity'],
    ['a fractional quantity', quantityOf(1.5), '/lines/1/quantity'],
    ['a tiny quantity', quantityOf(1e-9), '/lines/1/quantity'],
    ['10001 of one', quantityOf(10_001), '/lines/1/quantity'],
    ['1e9 of one', quantityOf(1e9), '/lines/1/quantity'],
    ['1e308 of one', quantityOf(1e308), '/lines/1/quantity'],
    ['a quantity beyond integers', quantityOf(2 ** 53), '/lines/1/quantity'],
    ['a quantity as text', quantityOf('1'), '/lines/1/quantity'],
    ['a quantity of true', quantityOf(true), '/lines/1/quantity'],
    ['a quantity of null', quantityOf(null), '/lines/1/quantity'],
    ['a quantity that is a list', quantityOf([1]), '/lines/1/quantity'],
    ['no quantity', quantityOf(undefined), '/lines/1/quantity'],
    ['no lines', { ...good, lines: [] }, '/lines'],
    ['101 lines', { ...good, lines: Array.from({ length: 101 }, () => line) }, '/lines'],
    ['lines of null', { ...good, lines: null }, '/lines'],
    ['lines as an object', { ...good, lines: { 0: line } }, '/lines'],
    ['a line of null', { ...good, lines: [null] }, '/lines/0'],
    ['a line that is a list', { ...good, lines: [['MOUSE-WL', 1]] }, '/lines/0'],
    ['no "lines"', without('lines'), '/lines'],
    ['no address', without('shippingAddress'), '/shippingAddress'],
    ['no payment', without('payment'), '/payment'],
    ['an unknown sku', ordering('NO-SUCH-SKU'), '/lines/0/sku'],
    ['a sku in another case', ordering('mouse-wl'), '/lines/0/sku'],
    ['an inactive sku', ordering('INACTIVE'), '/lines/0/sku'],
    ['an empty sku', ordering(''), '/lines/0/sku'],
    ['a sku of 65 characters', ordering('x'.repeat(65)), '/lines/0/sku'],
    ['a very long sku', ordering('x'.repeat(100_000)), '/lines/0/sku'],
    ['a sku with NUL', ordering('MOUSE-WL\0'), '/lines/0/sku'],
    ['a sku of half a surrogate pair', ordering('\ud800'), '/lines/0/sku'],
    ['a sku of emoji', ordering('😀'), '/lines/0/sku'],
    ['a sku with a line end', ordering('MOUSE-WL\n'), '/lines/0/sku'],
    ['a sku as number', ordering(1), '/lines/0/sku'],
    ['a sku as list', ordering(['MOUSE-WL']), '/lines/0/sku'],
    ['a sku of SQL', ordering("MOUSE-WL' or '1'='1"), '/lines/0/sku'],
    ['a sku of the prototype', ordering('constructor'), '/lines/0/sku'],
    [
      'a second sku that is unknown',
      { ...good, lines: [line, { sku: 'NOPE', quantity: 1 }] },
      '/lines/1/sku',
    ],
    ['an unknown field', { ...good, discount: 100 }, '/discount'],
    ['an unknown field of a line', { ...good, lines: [{ ...line, unitPrice: 1 }] }, '/lines/0/unitPrice'],
    ['an unknown field of the address', at({ planet: 'Mars' }), '/shippingAddress/planet'],
    ['an unknown field of the payment', by({ ...good.payment, cvv: '123' }), '/payment/cvv'],
    ['a field that a pointer escapes', { ...good, 'a/b~c': 1 }, '/a~1b~0c'],
    ['a field without name', { ...good, '': 1 }, '/'],
    ['its own total', { ...good, total: 1 }, '/total'],
    ['its own status', { ...good, status: 'confirmed' }, '/status'],
    ['another payment method', by({ method: 'cash', token: 'tok_ok' }), '/payment/method'],
    ['a payment without token', by({ method: 'card' }), '/payment/token'],
    ['an empty payment token', by({ method: 'card', token: ' ' }), '/payment/token'],
    ['a payment token with NUL', by({ method: 'card', token: 'tok\0' }), '/payment/token'],
    ['a payment token of 201 characters', by({ method: 'card', token: 'x'.repeat(201) }), '/payment/token'],
    ['a payment as text', by('tok_ok'), '/payment'],
    ['a customerId that is none', { ...good, customerId: 'john' }, '/customerId'],
    ['a customerId of SQL', { ...good, customerId: "' or 1=1 --" }, '/customerId'],
    ['a negative expected total', { ...good, expectedTotal: -1 }, '/expectedTotal'],
    ['a fractional expected total', { ...good, expectedTotal: 29.99 }, '/expectedTotal'],
    ['an expected total as text', { ...good, expectedTotal: '2999' }, '/expectedTotal'],
    ['a note that is no text', { ...good, note: { text: 'x' } }, '/note'],
    ['a note of null', { ...good, note: null }, '/note'],
    ['a note that is too long', { ...good, note: 'x'.repeat(2001) }, '/note'],
    ['a note with NUL', { ...good, note: 'a\0b' }, '/note'],
    ['a note with half a surrogate pair', { ...good, note: 'a\ud800b' }, '/note'],
    ['a note with an escape sequence', { ...good, note: '\u001b[31mred' }, '/note'],
    ['a name with NUL', at({ name: '\0' }), '/shippingAddress/name'],
    ['a name with half a surrogate pair', at({ name: '\udc00' }), '/shippingAddress/name'],
    ['a name that adds a mail header', at({ name: 'John\r\nBcc: all@example.com' }), '/shippingAddress/name'],
    ['a name of spaces', at({ name: ' \u00a0\ufeff' }), '/shippingAddress/name'],
    ['a name of 201 characters', at({ name: 'x'.repeat(201) }), '/shippingAddress/name'],
    ['a name as number', at({ name: 5 }), '/shippingAddress/name'],
    ['no name', at({ name: undefined }), '/shippingAddress/name'],
    ['an empty street', at({ line1: '' }), '/shippingAddress/line1'],
    ['no city', at({ city: undefined }), '/shippingAddress/city'],
    ['a long postal code', at({ postalCode: '1'.repeat(21) }), '/shippingAddress/postalCode'],
    ['a postal code as number', at({ postalCode: 12345 }), '/shippingAddress/postalCode'],
    ['a country by name', at({ country: 'Germany' }), '/shippingAddress/country'],
    ['a country in small letters', at({ country: 'us' }), '/shippingAddress/country'],
    ['an address as text', { ...good, shippingAddress: '1 Main Street' }, '/shippingAddress'],
    ['an address as list', { ...good, shippingAddress: [address] }, '/shippingAddress'],
  ];
  test.each(wrong)('%s is told where it is wrong', async (_name, body, pointer) => {
    await leavingNothing(async () => expectProblem(await post({ body }), 422, 'validation_failed', pointer));
  });

  test('several mistakes is told all of them', async () => {
    const { body } = await post({ body: { lines: [{ sku: '', quantity: 0 }], surprise: 1 } });
    expect(body.errors.map((error: { pointer: string }) => error.pointer).toSorted()).toEqual([
      '/lines/0/quantity',
      '/lines/0/sku',
      '/payment',
      '/shippingAddress',
      '/surprise',
    ]);
  });

  test('keys of the prototype is refused, and nothing is polluted', async () => {
    const text = JSON.stringify(good).slice(0, -1);
    for (const [key, raw] of [
      ['/__proto__', `${text},"__proto__":{"polluted":true,"note":"polluted"}}`],
      ['/constructor', `${text},"constructor":{"prototype":{"polluted":true}}}`],
      ['/prototype', `${text},"prototype":{"polluted":true}}`],
      ['/toString', `${text},"toString":1}`],
      ['/hasOwnProperty', `${text},"hasOwnProperty":1}`],
      [
        '/shippingAddress/__proto__',
        JSON.stringify(good).replace('"name"', '"__proto__":{"polluted":1},"name"'),
      ],
      ['/lines/0/__proto__', JSON.stringify(good).replace('"sku"', '"__proto__":{"quantity":1},"sku"')],
    ] as const) {
      expectProblem(await post({ raw }), 422, 'validation_failed', key);
    }
    const { status, body } = await post({ body: good });
    expect(status).toBe(201);
    expect(body.note).toBeUndefined();
    expect(body.polluted).toBeUndefined();
  });

  test('very deep nesting is refused', async () => {
    const deep = (depth: number) => `${'['.repeat(depth)}1${']'.repeat(depth)}`;
    await leavingNothing(async () => {
      expectProblem(await post({ raw: deep(100_000) }), 422, 'validation_failed', '');
      const raw = JSON.stringify({ ...good, note: '?' }).replace('"?"', deep(100_000));
      expectProblem(await post({ raw }), 422, 'validation_failed', '/note');
      const objects = `${'{"lines":'.repeat(20_000)}1${'}'.repeat(20_000)}`;
      expectProblem(await post({ raw: objects }), 422, 'validation_failed', '/lines');
    });
  });
});

describe('text in any script', () => {
  const texts = [
    'שלום עולם',
    'مرحبا',
    '\u202Egnp.exe',
    '👩‍👩‍👧‍👦 family',
    '𠜎𠜱𠝹',
    'Z̵̢͕a̶l̸g̵o̷',
    'é \u2028 \u200b',
    '<script>alert(1)</script>',
    '{{#each order}}{{this}}{{/each}}',
    "'); drop table ordering.orders; --",
    String.raw`\u0000 \0 %00 ${'${7*7}'}`,
    '%s %n %d',
    '😀'.repeat(50),
  ];
  test('is kept as it was written in names, notes and reasons, and the mail goes out', async () => {
    await stack.stock('SCRIPTS', 100);
    await Promise.all(
      texts.map(async (text) => {
        const shippingAddress = {
          ...address,
          name: text,
          line1: text,
          line2: text,
          city: text,
          region: text,
        };
        const placed = await post({
          body: orderOf([{ sku: 'SCRIPTS', quantity: 1 }], { shippingAddress, note: text }),
        });
        expect(placed).toMatchObject({ status: 201, body: { shippingAddress, note: text } });
        const { id } = placed.body;
        const cancelled = await api.request('POST', `/v1/orders/${id}/cancel`, {
          token: stack.tokens.john,
          body: { reason: text },
        });
        expect(cancelled).toMatchObject({ status: 200, body: { cancellation: { reason: text } } });
        const read = await api.request('GET', `/v1/orders/${id}`, { token: stack.tokens.john });
        expect(read.body).toEqual(cancelled.body);
        await eventually('both mails and both pushes are sent', async () => {
          const { body } = await api.request('GET', `/v1/orders/${id}/events`, { token: stack.tokens.john });
          return (
            body.data.filter((event: { type: string }) => event.type === 'notification.sent').length === 4
          );
        });
      }),
    );
    expectNoFault(await list('limit=100'));
  });

  test('is trimmed; lines of a note stay', async () => {
    const shippingAddress = { ...address, name: '  John  ' };
    const { body } = await post({ body: { ...good, shippingAddress, note: ' one\n\ttwo \r\n' } });
    expect(body).toMatchObject({ shippingAddress: { name: 'John' }, note: 'one\n\ttwo' });
  });

  test.each([
    [{ reason: 'a\0' }, '/reason'],
    [{ reason: '\ud800' }, '/reason'],
    [{ reason: 'x'.repeat(501) }, '/reason'],
    [{ reason: 1 }, '/reason'],
    [{ reason: null }, '/reason'],
    [{ because: 'x' }, '/because'],
    [[], ''],
    [{ lines: [] }, '/lines'],
    [{ lines: null }, '/lines'],
    [{ lines: 'all' }, '/lines'],
    [{ lines: [null] }, '/lines/0'],
    [{ lines: [{ quantity: 1 }] }, '/lines/0/lineId'],
    [{ lines: [{ lineId: 'x', quantity: 1 }] }, '/lines/0/lineId'],
    [{ lines: [{ lineId: randomUUID(), quantity: 0 }] }, '/lines/0/quantity'],
    [{ lines: [{ lineId: randomUUID(), quantity: 10_001 }] }, '/lines/0/quantity'],
    [{ lines: [{ lineId: randomUUID(), quantity: '1' }] }, '/lines/0/quantity'],
    [{ lines: [{ lineId: randomUUID(), quantity: 1 }] }, '/lines/0/lineId'],
    [{ lines: [{ lineId: randomUUID(), quantity: 1, sku: 'MOUSE-WL' }] }, '/lines/0/sku'],
    [{ commandId: randomUUID() }, '/commandId'],
    [{ by: 'somebody else' }, '/by'],
  ])('a cancellation with %j is told where it is wrong, and cancels nothing', async (body, pointer) => {
    const { id } = (await post({ body: good })).body;
    const refused = await api.request('POST', `/v1/orders/${id}/cancel`, { token: stack.tokens.john, body });
    expectProblem(refused, 422, 'validation_failed', pointer);
    const read = await api.request('GET', `/v1/orders/${id}`, { token: stack.tokens.john });
    expect(read.body.status).toBe('confirmed');
  });
});

describe('a command to an order with a bad body', () => {
  const unit = { lineId: randomUUID(), quantity: 1 };
  const wrong: [string, unknown, string][] = [
    ['POST shipments', [], ''],
    ['POST shipments', {}, '/carrier'],
    ['POST shipments', { carrier: '' }, '/carrier'],
    ['POST shipments', { carrier: 'UPS\0' }, '/carrier'],
    ['POST shipments', { carrier: 'x'.repeat(101) }, '/carrier'],
    ['POST shipments', { carrier: 7 }, '/carrier'],
    ['POST shipments', { carrier: 'UPS', trackingNumber: ' ' }, '/trackingNumber'],
    ['POST shipments', { carrier: 'UPS', trackingNumber: null }, '/trackingNumber'],
    ['POST shipments', { carrier: 'UPS', lines: [] }, '/lines'],
    ['POST shipments', { carrier: 'UPS', lines: [{ ...unit, quantity: -1 }] }, '/lines/0/quantity'],
    ['POST shipments', { carrier: 'UPS', lines: [{ ...unit, lineId: 7 }] }, '/lines/0/lineId'],
    ['POST shipments', { carrier: 'UPS', lines: Array.from({ length: 101 }, () => unit) }, '/lines'],
    ['POST shipments', { carrier: 'UPS', lines: [unit] }, '/lines/0/lineId'],
    ['POST shipments', { carrier: 'UPS', shipmentId: randomUUID() }, '/shipmentId'],
    ['POST refunds', {}, '/amount'],
    ['POST refunds', { amount: 0, reason: 'x' }, '/amount'],
    ['POST refunds', { amount: -1, reason: 'x' }, '/amount'],
    ['POST refunds', { amount: 1.5, reason: 'x' }, '/amount'],
    ['POST refunds', { amount: '1', reason: 'x' }, '/amount'],
    ['POST refunds', { amount: 1e300, reason: 'x' }, '/amount'],
    ['POST refunds', { amount: 1 }, '/reason'],
    ['POST refunds', { amount: 1, reason: '' }, '/reason'],
    ['POST refunds', { amount: 1, reason: '\ud800' }, '/reason'],
    ['POST refunds', { amount: 1, reason: 'x', currency: 'EUR' }, '/currency'],
    ['POST returns', {}, '/lines'],
    ['POST returns', { lines: [unit] }, '/reason'],
    ['POST returns', { lines: [], reason: 'x' }, '/lines'],
    ['POST returns', { lines: [{ ...unit, quantity: 0 }], reason: 'x' }, '/lines/0/quantity'],
    ['POST returns', { lines: [unit], reason: 'x'.repeat(501) }, '/reason'],
  ];
  test.each(wrong)('%s %j is told where it is wrong', async (endpoint, body, pointer) => {
    const [method, noun] = endpoint.split(' ') as [string, string];
    const { id } = (await post({ body: good })).body;
    const send = (options: RequestOptions) =>
      api.request(method, `/v1/orders/${id}/${noun}`, { token: stack.tokens.staff, ...options });
    await leavingNothing(async () => {
      const headers = { 'idempotency-key': randomUUID() };
      expectProblem(await send({ body, headers }), 422, 'validation_failed', pointer);
      expectProblem(await send({ raw: '{"a', headers }), 400, 'invalid_json');
    });
  });

  test.each(['not-an-id', '%00', "'%20or%20'1'='1", randomUUID()])('or an id of %s', async (id) => {
    for (const [method, path, body] of [
      ['POST', `/v1/orders/${id}/shipments`, { carrier: 'UPS' }],
      ['GET', `/v1/orders/${id}/payments`],
      ['POST', `/v1/orders/${id}/refunds`, { amount: 1, reason: 'x' }],
      ['POST', `/v1/orders/${id}/returns`, { lines: [unit], reason: 'x' }],
      ['GET', `/v1/shipments/${id}`],
      ['PATCH', `/v1/shipments/${id}`, { status: 'in_transit' }],
      ['POST', `/v1/shipments/${id}/deliver`],
      ['GET', `/v1/returns/${id}`],
      ['POST', `/v1/returns/${id}/approve`],
    ] as [string, string, unknown?][]) {
      const answer = await stack.api.request(method, path, { token: stack.tokens.staff, body });
      expectProblem(answer, 404, 'not_found');
    }
  });
});

describe.each(['payments', 'carriers'])('a webhook of the mock %s', (companies) => {
  const tell = (raw: string | Buffer, headers: Record<string, string> = {}, company = 'mock') =>
    api.request('POST', `/v1/${companies}/${company}/webhook`, { raw, headers });
  const signed = (raw: string) => tell(raw, signMockWebhook(EXAMPLE_WEBHOOK_SECRET, raw));

  test('that is not signed as it should be is refused: 401', async () => {
    const body = '{"type":"payment.authorized","data":{}}';
    const right = signMockWebhook(EXAMPLE_WEBHOOK_SECRET, body);
    const other = signMockWebhook(`whsec_${Buffer.from('another secret').toString('base64')}`, body);
    for (const headers of [
      {},
      other,
      { ...right, 'webhook-id': 'msg_other' },
      { ...right, 'webhook-timestamp': '1' },
      { ...right, 'webhook-timestamp': 'now' },
      { ...right, 'webhook-signature': '' },
      { ...right, 'webhook-signature': 'v1,' },
      { ...right, 'webhook-signature': right['webhook-signature'].replace('v1,', 'v2,') },
      { ...right, 'webhook-signature': 'v1,AAAA' },
    ])
      expectProblem(await tell(body, headers), 401, 'invalid_signature');
    expectProblem(await tell(`${body} `, right), 401, 'invalid_signature');
    expectProblem(await tell('', {}), 401, 'invalid_signature');
    expectProblem(await tell(Buffer.from([0xff, 0, 0xfe]), right), 401, 'invalid_signature');
  });

  test('that is signed and says nothing that can be read is told: 422', async () => {
    for (const body of ['', '{', 'null', '[]', '42', '{}', '{"type":7}', '['.repeat(50_000)])
      expectProblem(await signed(body), 422, 'validation_failed');
  });

  test('of an unknown company is not found, one that is too large is refused', async () => {
    expectProblem(
      await tell('{}', signMockWebhook(EXAMPLE_WEBHOOK_SECRET, '{}'), 'nobody'),
      404,
      'not_found',
    );
    expectProblem(await tell('{}', {}, '__proto__'), 404, 'not_found');
    expectProblem(await tell('x'.repeat(2_000_000)), 413, 'payload_too_large');
    expectProblem(await tell('{}', { 'content-encoding': 'compress' }), 415, 'unsupported_media_type');
    const broken = await tell('{}', { 'content-encoding': 'gzip' });
    expectNoFault(broken);
    expect(broken.status).toBe(400);
  });

  test('of something nobody knows is received, and changes nothing', async () => {
    const news =
      companies === 'payments'
        ? { type: 'payment.authorized', data: { paymentId: randomUUID() } }
        : { type: 'shipment.updated', data: { trackingNumber: "' or 1=1 --", status: 'delivered' } };
    await leavingNothing(async () =>
      expect(await signed(JSON.stringify(news))).toMatchObject({ status: 200, body: { received: true } }),
    );
  });
});

describe('a body that is too large', () => {
  test('is refused with 413, whatever it is', async () => {
    await leavingNothing(async () => {
      expectProblem(await post({ raw: 'x'.repeat(2_000_000) }), 413, 'payload_too_large');
      expectProblem(await post({ body: { ...good, note: 'x'.repeat(2_000_000) } }), 413, 'payload_too_large');
      const raw = Buffer.from(' '.repeat(2_000_000));
      const staff = { token: stack.tokens.staff, raw };
      expectProblem(await api.request('PUT', '/v1/inventory/MOUSE-WL', staff), 413, 'payload_too_large');
      expectProblem(await api.request('POST', '/v1/auth/login', { raw }), 413, 'payload_too_large');
    });
  });

  test('when unpacked is refused with 413; packed ones of a right size are taken', async () => {
    const headers = { 'content-encoding': 'gzip' };
    expectProblem(await post({ raw: gzipSync(' '.repeat(5_000_000)), headers }), 413, 'payload_too_large');
    expect((await post({ raw: gzipSync(JSON.stringify(good)), headers })).status).toBe(201);
  });

  test('from a stranger is not read', async () => {
    const answer = await stack.api.request('POST', '/v1/orders', { raw: 'x'.repeat(2_000_000) });
    expectProblem(answer, 401, 'unauthenticated');
  });
});

describe('a content type', () => {
  const raw = Buffer.from(JSON.stringify(good));
  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
    'application/problem+json',
    'application/jsonx',
    'application/json; charset=latin1',
    'application/json; charset=utf-99',
    'garbage',
    '*/*',
  ])('of %s is refused: 415', async (type) => {
    await leavingNothing(async () =>
      expectProblem(await post({ raw, headers: { 'content-type': type } }), 415, 'unsupported_media_type'),
    );
  });

  test('that is missing, or an encoding that is unknown, is refused: 415', async () => {
    const response = await fetch(`${stack.api.url}/v1/orders`, {
      method: 'POST',
      body: raw,
      headers: { authorization: `Bearer ${stack.tokens.john}`, 'idempotency-key': randomUUID() },
    });
    expect(response.status).toBe(415);
    const packed = await post({ raw, headers: { 'content-encoding': 'compress' } });
    expectProblem(packed, 415, 'unsupported_media_type');
  });

  test.each(['application/json', 'application/json; charset=utf-8', 'APPLICATION/JSON;charset="UTF-8"'])(
    'of %s is taken',
    async (type) => expect((await post({ raw, headers: { 'content-type': type } })).status).toBe(201),
  );
});

describe('an Idempotency-Key', () => {
  test('that is missing is told: 400', async () => {
    await leavingNothing(async () => {
      const answer = await api.request('POST', '/v1/orders', { token: stack.tokens.john, body: good });
      expectProblem(answer, 400, 'idempotency_key_required');
    });
  });

  test.each(named(['x'.repeat(256), 'x'.repeat(8000), '', ' ', 'schlüssel', 'a\tb', '\u00ff']))(
    'of %s is told: 400',
    async (_name, key) => {
      const headers = { 'idempotency-key': key };
      await leavingNothing(async () =>
        expectProblem(await post({ body: good, headers }), 400, 'invalid_idempotency_key'),
      );
      const cancelling = await api.request('POST', `/v1/orders/${randomUUID()}/cancel`, {
        token: stack.tokens.john,
        headers,
      });
      expectProblem(cancelling, 400, 'invalid_idempotency_key');
    },
  );

  test.each(named(['!', 'x'.repeat(255), "'; drop table ordering.orders; --", '../../etc', 'a b:c/d?e%00']))(
    'of %s is taken, and means one order',
    async (_name, key) => {
      const headers = { 'idempotency-key': key };
      const first = await post({ body: good, headers });
      expect(first.status).toBe(201);
      expect((await post({ body: good, headers })).body.id).toBe(first.body.id);
    },
  );

  test('is not consumed by an error', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    expectProblem(await post({ raw: '{', headers }), 400);
    expectProblem(await post({ body: { ...good, surprise: 1 }, headers }), 422);
    expectProblem(await post({ body: orderOf([{ sku: 'NOPE', quantity: 1 }]), headers }), 422);
    expectProblem(await post({ raw: '{}', headers: { ...headers, 'content-type': 'text/plain' } }), 415);
    const placed = await post({ body: good, headers });
    expect(placed.status).toBe(201);
    expect(placed.headers.get('idempotent-replayed')).toBeNull();
    expectProblem(await post({ body: { ...good, note: 'other' }, headers }), 422, 'idempotency_key_reused');
  });
});

describe('If-Match on an order', () => {
  const cancel = (id: string, tag: string, method: string) =>
    api.request(method, method === 'POST' ? `/v1/orders/${id}/cancel` : `/v1/orders/${id}`, {
      token: stack.tokens.john,
      headers: { 'if-match': tag },
    });

  test.each(['POST', 'DELETE'])(
    'that is malformed (400), stale or weak (412) cancels nothing: %s',
    async (method) => {
      const { id } = (await post({ body: good })).body;
      for (const tag of ['1', 'W/1', '"1', 'abc', "'1'", '"1"x'])
        expectProblem(await cancel(id, tag, method), 400, 'invalid_header');
      for (const tag of ['"0"', '"2"', '"99999999999"', '"01"', '"x"', '""', 'W/"1"'])
        expectProblem(await cancel(id, tag, method), 412, 'version_conflict');
      const read = await api.request('GET', `/v1/orders/${id}`, { token: stack.tokens.john });
      expect(read.body).toMatchObject({ status: 'confirmed', version: 1 });
      expect((await cancel(id, read.headers.get('etag')!, method)).body.status).toBe('cancelled');
    },
  );

  test.each(['POST', 'DELETE'])('that names several versions wants one of them: %s', async (method) => {
    const { id } = (await post({ body: good })).body;
    expectProblem(await cancel(id, '"0", "2"', method), 412, 'version_conflict');
    expect((await cancel(id, '"0", "1"', method)).body.status).toBe('cancelled');
  });

  test('that is * or absent asks for no version', async () => {
    const { id } = (await post({ body: good })).body;
    expect((await cancel(id, '*', 'DELETE')).body.status).toBe('cancelled');
  });
});

test('a step that the state forbids is a 409 that says where the order stands', async () => {
  const rejected = await post({ body: orderOf([{ sku: 'CONSOLE-LE', quantity: 3 }]) });
  expect(rejected.body.status).toBe('rejected');
  const refused = await api.request('DELETE', `/v1/orders/${rejected.body.id}`, { token: stack.tokens.john });
  expectProblem(refused, 409, 'invalid_transition');
  expect(refused.body.detail).toContain('rejected');
});

describe('a bad query of the order list', () => {
  test.each([
    'limit=0',
    'limit=101',
    'limit=-5',
    'limit=2.5',
    'limit=ten',
    'limit=',
    'limit=1&limit=2',
    'limit[]=5',
    'status=shiny',
    'status=',
    'status=confirmed&status=rejected',
    'status[]=confirmed',
    'status=constructor',
    'customerId=john',
    'customerId=',
    "customerId=550e8400-e29b-41d4-a716-446655440000'--",
    'sku=%00',
    'sku=',
    'sku=%F0%9F%98%80',
    'createdFrom=yesterday',
    'createdFrom=2026-01-01',
    'createdFrom=2026-02-30T00:00:00Z',
    'createdFrom=2026-01-01T25:00:00Z',
    'createdFrom=infinity',
    'createdFrom=',
    'createdTo=now()',
    'q=',
    'q=%00',
    'q=%0a',
    `q=${'x'.repeat(101)}`,
    'offset=1',
    'page=2',
    'Limit=5',
    '__proto__=1',
    '__proto__[a]=1',
    'constructor=1',
    'hasOwnProperty=1',
    '=1',
  ])('?%s is told: 400', async (query) => {
    expectProblem(await list(query), 400, 'invalid_query');
  });

  test.each([
    'createdFrom=0000-01-01T00:00:00Z',
    'createdFrom=0000-01-01T00:00:00%2B23:59',
    'createdTo=9999-12-31T23:59:59-23:59',
    'createdFrom=2026-01-01T00:00:00.123456789Z',
    'q=%25',
    'q=_',
    'q=%5C',
    "q='%20or%201=1%20--",
    'q=%F0%9F%98%80',
    'q=%D7%A9',
    'q=%E2%80%AE',
    'q=%E0%A4%A',
    'q=%',
    'sku=x',
    '%E0%A4%A=1',
  ])('?%s is no fault', async (query) => {
    expectNoFault(await list(query));
  });

  const cursor = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const id = randomUUID();
  test.each(
    named([
      'x',
      '',
      '%00',
      '!!!!',
      '😀',
      'x'.repeat(1000),
      cursor(null),
      cursor({}),
      cursor([]),
      cursor('MOUSE-WL'),
      cursor(1),
      cursor([id]),
      cursor([id, id]),
      cursor(['2026-01-01T00:00:00Z', 'no id']),
      cursor(['2026-01-01T00:00:00Z', id, 1]),
      cursor(['yesterday', id]),
      cursor(["2026-01-01T00:00:00Z' or 1=1 --", id]),
      cursor([['2026-01-01T00:00:00Z'], id]),
      cursor([null, null]),
      Buffer.from('{"__proto__":[]}').toString('base64url'),
    ]),
  )('?cursor=%s is told: 400', async (_name, bad) => {
    expectProblem(await list(`cursor=${encodeURIComponent(bad)}`), 400, 'invalid_cursor');
  });

  test('?cursor= of another list, or tampered with, is told: 400', async () => {
    await post({ body: good });
    await post({ body: good });
    const first = await list('limit=1');
    const own: string = first.body.nextCursor;
    expect((await list(`limit=1&cursor=${own}`)).status).toBe(200);
    const others: Answer[] = await Promise.all(
      [
        '/v1/inventory?limit=1',
        '/v1/products?limit=1',
        `/v1/orders/${first.body.data[0].id}/events?limit=1`,
      ].map((path) => stack.api.request('GET', path, { token: stack.tokens.staff })),
    );
    for (const other of others) {
      expect(other.body.nextCursor).toEqual(expect.any(String));
      expectProblem(await list(`cursor=${other.body.nextCursor}`), 400, 'invalid_cursor');
    }
    for (const tampered of [own.slice(1), own.slice(0, -4), `x${own}`, own.toUpperCase(), own + own])
      expectProblem(await list(`cursor=${tampered}`), 400, 'invalid_cursor');
  });

  test('a cursor gives nobody the orders of others', async () => {
    const placed = await post({ body: good });
    const forged = cursor(['9999-12-31T23:59:59Z', randomUUID()]);
    const { status, body } = await api.request('GET', `/v1/orders?limit=100&cursor=${forged}`, {
      token: stack.tokens.jane,
    });
    expect(status).toBe(200);
    expect(JSON.stringify(body)).not.toContain(placed.body.id);
  });

  test('and of a timeline: bad cursors are told, far ones are its end', async () => {
    const placed = await post({ body: good });
    const events = (query: string) =>
      api.request('GET', `/v1/orders/${placed.body.id}/events?${query}`, { token: stack.tokens.john });
    for (const bad of [
      'x',
      cursor(-1),
      cursor(1.5),
      cursor('1'),
      cursor([1]),
      cursor(2 ** 31),
      cursor(1e300),
    ])
      expectProblem(await events(`cursor=${bad}`), 400, 'invalid_cursor');
    for (const bad of ['limit=0', 'limit=101', 'x=1']) expectProblem(await events(bad), 400, 'invalid_query');
    const end = await events(`cursor=${cursor(2 ** 31 - 1)}`);
    expect(end).toMatchObject({ status: 200, body: { data: [], nextCursor: null } });
  });
});

describe('a path parameter', () => {
  test.each(
    named([
      '%00',
      '%E0%A4%A',
      '%',
      '%ED%A0%80',
      '%F0%9F%98%80',
      '%E2%80%AE',
      "'%20or%20'1'='1",
      '..%2F..%2Fetc',
      'not-an-id',
      '0',
      '-1',
      'null',
      'undefined',
      '__proto__',
      'constructor',
      '550e8400-e29b-41d4-a716-44665544000',
      '550e8400-e29b-41d4-a716-4466554400000',
      '{550e8400-e29b-41d4-a716-446655440000}',
      'AAAAA-AAAAA',
      'UUUUU-UUUUU',
      'x'.repeat(5000),
    ]),
  )('of %s names no order', async (_name, id) => {
    for (const [method, path] of [
      ['GET', `/v1/orders/${id}`],
      ['GET', `/v1/orders/${id}/events`],
      ['POST', `/v1/orders/${id}/cancel`],
      ['DELETE', `/v1/orders/${id}`],
    ] as const) {
      const answer = await stack.api.request(method, path, { token: stack.tokens.staff });
      expectNoFault(answer);
      expect(answer.status).toBe(404);
    }
  });

  test('may be written in any case', async () => {
    const { body } = await post({ body: good });
    for (const id of [body.id.toUpperCase(), body.number.toLowerCase()]) {
      const read = await api.request('GET', `/v1/orders/${id}`, { token: stack.tokens.john });
      expect(read.body).toEqual(body);
    }
  });
});

test('SQL in every text is text: the tables are there, and nobody became an admin', async () => {
  const injections = [
    "'; drop table ordering.orders; --",
    "' or '1'='1",
    '" or ""="',
    "\\'; delete from x; --",
    '$1',
    '${1}',
  ];
  const before = await stack.db.selectFrom('identity.users').select(['id', 'role']).orderBy('id').execute();
  for (const text of injections) {
    const query = encodeURIComponent(text);
    const answers = await Promise.all([
      post({ body: orderOf([{ sku: text, quantity: 1 }]) }),
      post({ body: { ...good, customerId: text } }),
      post({
        body: { ...good, note: text, shippingAddress: { ...address, name: text, city: text, region: text } },
      }),
      post({ body: { ...good, payment: { method: 'card', token: text } } }),
      ...['q', 'sku', 'status', 'customerId', 'createdFrom', 'cursor', 'limit'].map((name) =>
        list(`${name}=${query}`),
      ),
      ...['q', 'category', 'sort', 'minPrice', 'cursor'].map((name) =>
        api.request('GET', `/v1/products?${name}=${query}`),
      ),
      stack.api.request('GET', `/v1/products/${query}`),
      stack.api.request('GET', `/v1/orders/${query}`, { token: stack.tokens.staff }),
      stack.api.request('GET', `/v1/inventory/${query}`, { token: stack.tokens.staff }),
      api.request('GET', `/v1/inventory?lowStock=${query}`, { token: stack.tokens.staff }),
      api.request('POST', '/v1/auth/login', { body: { email: text, password: text } }),
      api.request('POST', '/v1/auth/refresh', { body: { refreshToken: text } }),
      api.request('GET', '/livez', { headers: { 'x-request-id': text } }),
    ]);
    for (const answer of answers) expectNoFault(answer);
  }
  expect((await list('limit=1')).body.data).toHaveLength(1);
  expect(await stack.db.selectFrom('identity.users').select(['id', 'role']).orderBy('id').execute()).toEqual(
    before,
  );
});

test('strange headers are no fault', async () => {
  for (const headers of [
    { prefer: 'wait=-1' },
    { prefer: 'wait=99999999999' },
    { prefer: 'wait=abc, , ;' },
    { accept: 'text/html' },
    { accept: 'garbage' },
    { 'accept-encoding': 'nonsense' },
    { 'if-none-match': 'x' },
    { range: 'bytes=0-5' },
    { 'x-forwarded-for': '1.2.3.4, garbage' },
    { 'x-http-method-override': 'DELETE' },
  ] as Record<string, string>[]) {
    const answer = await post({ body: good, headers });
    expect(answer.status, JSON.stringify(headers)).toBe(201);
  }
});

describe('what is no HTTP request', () => {
  /** Says one thing after the other, each when there was an answer, until the connection is closed. */
  const talk = async (url: string, ...said: string[]): Promise<Answer[]> => {
    const { port, hostname } = new URL(url);
    const socket = connect(Number(port), hostname).setEncoding('utf8');
    let heard = '';
    socket.on('data', (chunk: string) => (heard += chunk)).on('error', () => undefined);
    const closed = once(socket, 'close');
    for (const part of said) {
      if (part !== said[0]) await eventually('an answer', () => heard);
      socket.write(part.replaceAll('\n', '\r\n'));
    }
    await closed;
    return heard.split(/(?=HTTP\/1\.1 \d)/).map((answer) => {
      const [head, body = ''] = answer.split('\r\n\r\n');
      const [line, ...headers] = head!.split('\r\n');
      return {
        status: Number(line!.split(' ')[1]),
        headers: new Headers(headers.map((header) => header.split(/: (.*)/, 2) as [string, string])),
        body: body.startsWith('{') ? JSON.parse(body) : body,
      };
    });
  };
  const login = 'POST /v1/auth/login HTTP/1.1\nHost: here\nContent-Type: application/json\n';

  test.each([
    ['a header with a control character', 'GET /livez HTTP/1.1\nHost: here\nX-Note: a\u0001b\n\n', 400, 'invalid_header'],
    ['headers that are too long', `GET /livez HTTP/1.1\nHost: here\nX-Note: ${'a'.repeat(140_000)}\n\n`, 431, 'headers_too_large'],
    ['a chunk of no size', `${login}X-Request-Id: mine\nTransfer-Encoding: chunked\n\nno size\n`, 400, 'invalid_request'],
    ['two lengths of a body', `${login}Content-Length: 2\nContent-Length: 3\n\n{}`, 400, 'invalid_request'],
    ['no method', 'hello\n\n', 400, 'invalid_request'],
  ] as const)('%s: is told as any other error', async (_name, said, status, code) => {
    const answers = await talk(stack.api.url, said);
    expect(answers).toHaveLength(1);
    expectProblem(answers[0]!, status, code);
    if (said.includes('mine')) expect(answers[0]!.body).toMatchObject({ requestId: 'mine', instance: '/v1/auth/login' });
  }); // prettier-ignore

  test('is told after another answer, but not within one, and told too where it never ends', async () => {
    const server = createServer(
      { requestTimeout: 100, connectionsCheckingInterval: 50 },
      ({ url }, response) => {
        if (url === '/begun') response.write('and');
        else response.end('all');
      },
    );
    answerClientErrors(server, pino({ enabled: false }));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const [answered, told] = await talk(url, 'GET /all HTTP/1.1\nHost: here\n\n', 'hello\n\n');
    expect(answered!.status).toBe(200);
    expectProblem(told!, 400, 'invalid_request');
    expect(await talk(url, 'GET /begun HTTP/1.1\nHost: here\n\n', 'hello\n\n')).toHaveLength(1);
    const [late] = await talk(url, 'GET / HTTP/1.1\nHost: here\n');
    expectProblem(late!, 408, 'request_timeout');
    server.close();
  });
});

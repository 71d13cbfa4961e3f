import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, type Api, orderOf } from './harness/http.ts';
import { expectStockAddsUp } from './harness/invariants.ts';
import { conforming } from './harness/openapi.ts';
import { expectProblem } from './harness/problems.ts';
import type { Process } from './harness/processes.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
let api: Api;
let worker: Process;
beforeAll(async () => {
  stack = await startStack({ environment: { API_WORKER: 'false' } });
  api = await conforming(stack.api);
  worker = await stack.startWorker();
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectNothingLeftBehind();
  await stack.stop();
});

const CSV = 'text/csv';
const NDJSON = 'application/x-ndjson';

const send = (
  type: string,
  raw: string | Buffer,
  contentType = CSV,
  headers: Record<string, string> = {},
): Promise<Answer> =>
  api.request('POST', `/v1/imports?type=${type}`, {
    token: stack.tokens.staff,
    raw,
    headers: { 'content-type': contentType, ...headers },
  });

const look = async (id: string): Promise<Answer['body']> =>
  (await api.request('GET', `/v1/imports/${id}`, { token: stack.tokens.staff })).body;

/** Imports a file, and tells how that ended. */
async function imported(type: string, raw: string | Buffer, contentType = CSV): Promise<Answer['body']> {
  const accepted = await send(type, raw, contentType);
  expect(accepted.status).toBe(202);
  expect(accepted.headers.get('location')).toBe(`/v1/imports/${accepted.body.id}`);
  const ended = async () => {
    const now = await look(accepted.body.id);
    return now.status === 'running' ? undefined : now;
  };
  return await eventually('the import ends', ended, 60);
}

const exported = async (noun: string, format: string): Promise<string> => {
  const { status, body } = await api.request('GET', `/v1/exports/${noun}?format=${format}`, {
    token: stack.tokens.staff,
  });
  expect(status).toBe(200);
  return body;
};

const product = async (sku: string) => (await api.request('GET', `/v1/products/${sku}`)).body;
const stock = async (sku: string) =>
  (await api.request('GET', `/v1/inventory/${sku}`, { token: stack.tokens.staff })).body;

/** Pieces of files that belong to no running import. */
async function leftBehind(): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) from importing.chunks where not exists (
      select from importing.imports where imports.upload_id = chunks.upload_id and status = 'running'
    )
  `.execute(stack.db);
  return rows[0]!.count;
}

const expectNothingLeftBehind = async () => expect(await leftBehind()).toBe(0);

describe('products', () => {
  test('come from CSV: with a byte order mark, quoted commas, quotes and lines', async () => {
    const file = [
      '\uFEFFsku,name,description,category,price,currency,imageUrl,active',
      'I-1,"Chair, ""wide""","Two',
      'lines.",seats,1000,USD,https://images.example/1,true',
      '',
      'I-2,Стул,,,2000,EUR,,false',
    ].join('\r\n');
    expect(await imported('products', file)).toMatchObject({
      type: 'products',
      format: 'csv',
      status: 'completed',
      processed: 2,
      failed: 0,
      errors: [],
    });
    expect(await product('I-1')).toMatchObject({
      name: 'Chair, "wide"',
      description: 'Two\r\nlines.',
      category: 'seats',
      price: 1000,
      imageUrl: 'https://images.example/1',
      active: true,
    });
    expect(await product('I-2')).toMatchObject({
      name: 'Стул',
      currency: 'EUR',
      imageUrl: null,
      active: false,
    });
  });

  test('come from NDJSON, and what a row does not name stays as it is', async () => {
    const first = { sku: 'I-3', name: 'Stool', description: 'Round.', price: 5, currency: 'USD' };
    const lines = [first, { sku: 'I-3', name: 'High stool', price: 6, currency: 'USD' }];
    const file = `${lines.map((line) => JSON.stringify(line)).join('\n')}\n\n`;
    expect(await imported('products', file, NDJSON)).toMatchObject({ status: 'completed', processed: 2 });
    expect(await product('I-3')).toMatchObject({
      name: 'High stool',
      description: 'Round.',
      price: 6,
      version: 2,
    });
  });

  test('that are wrong are told row by row, and the others taken', async () => {
    const file = [
      'sku,name,price,currency',
      'E-1,Good,1,USD',
      'E-2,,1,USD',
      'E-3,Bad price,1.50,USD',
      'bad sku,X,-1,usd',
      'E-5,Too,1,USD,many',
      'E-6,A\0B,1,USD',
      'E-7,Good,2,USD',
      'E-8,No such currency,2,QQQ',
    ].join('\n');
    const ended = await imported('products', file);
    expect(ended).toMatchObject({ status: 'completed', processed: 8, failed: 6 });
    expect(ended.errors.map(({ row, pointer }: { row: number; pointer?: string }) => [row, pointer])).toEqual(
      [
        [2, '/name'],
        [3, '/price'],
        [4, '/sku'],
        [4, '/price'],
        [4, '/currency'],
        [5, undefined],
        [6, '/name'],
        [8, '/currency'],
      ],
    );
    expect((await product('E-1')).price).toBe(1);
    expect((await product('E-7')).price).toBe(2);
  });

  test('in other bytes than UTF-8 are told', async () => {
    const file = Buffer.from('sku,name,price,currency\nL-1,caf\xe9,1,USD\nL-2,tea,1,USD\n', 'latin1');
    expect(await imported('products', file)).toMatchObject({
      status: 'completed',
      processed: 2,
      failed: 1,
      errors: [{ row: 1, detail: expect.stringMatching(/UTF-8/) }],
    });
  });

  test('of NDJSON that are wrong are told too', async () => {
    const file = [
      '{"sku":',
      '[]',
      'null',
      '{"sku":"E-8","\\u0000":1,"name":"x","price":1,"currency":"USD"}',
      '1e999',
    ];
    const ended = await imported('products', file.join('\n'), NDJSON);
    expect(ended).toMatchObject({ status: 'completed', processed: 5, failed: 5 });
  });

  test('of NDJSON that are too long are told, wherever in the file they stand, and the others taken', async () => {
    const row = (sku: string, description = '') =>
      JSON.stringify({ sku, name: sku, price: 1, currency: 'USD', description });
    const padding = Array.from({ length: 40 }, (_, index) => row(`PAD-${index}`, 'x'.repeat(10_000)));
    const file = [row('LONG-1'), row('LONG-2', 'y'.repeat(250_000)), row('LONG-3'), ...padding];
    file.push(row('LONG-4', 'z'.repeat(600_000)), row('LONG-5'), row('LONG-6', 'z'.repeat(150_000)));
    const ended = await imported('products', file.join('\n'), NDJSON);
    const detail = 'The line is longer than 100000 characters.';
    expect(ended).toMatchObject({ status: 'completed', processed: 46, failed: 3 });
    expect(ended.errors).toEqual([2, 44, 46].map((number) => ({ row: number, detail })));
    for (const sku of ['LONG-1', 'LONG-3', 'LONG-5']) {
      expect((await api.request('GET', `/v1/products/${sku}`)).status).toBe(200);
    }
  });

  test('are told also by a name in which the end of what is told cuts a letter in two', async () => {
    const long = 'x'.repeat(298);
    const row = JSON.stringify({ sku: 'E-9', name: 'x', price: 1, currency: 'USD', [`${long}😀`]: 1 });
    expect(await imported('products', row, NDJSON)).toMatchObject({
      status: 'completed',
      failed: 1,
      errors: [{ row: 1, pointer: `/${long}\uFFFD` }],
    });
  });

  test('of texts that no database takes are told, and the others taken', async () => {
    const texts = {
      name: 'x',
      description: 'x',
      category: 'x',
      currency: 'USD',
      imageUrl: 'https://x.example',
    };
    const rows = Object.keys({ sku: '', ...texts }).flatMap((field) =>
      ['\0', '\ud800'].map((bad) => ({ sku: 'E-10', price: 1, ...texts, [field]: `https://x/${bad}` })),
    );
    const file = [...rows, { sku: 'E-11', price: 1, ...texts }].map((row) => JSON.stringify(row)).join('\n');
    expect(await imported('products', file, NDJSON)).toMatchObject({
      status: 'completed',
      processed: rows.length + 1,
      failed: rows.length,
    });
    expect(await product('E-11')).toMatchObject(texts);
  });

  test('of long texts are taken a few at a time: no statement takes long', async () => {
    const letters = 'abcdefghijklmnopqrstuvwxyz'.split('');
    const words = letters.flatMap((a) => letters.flatMap((b) => [`qu${a}${b}`, `zu${a}${b}`, `xu${a}${b}`]));
    const description = words.slice(0, 2000).join(' ');
    const rows = Array.from({ length: 30 }, (_, number) =>
      JSON.stringify({ sku: `LONG-${number}`, name: 'Long', description, price: 1, currency: 'USD' }),
    );
    expect(await imported('products', rows.join('\n'), NDJSON)).toMatchObject({
      status: 'completed',
      processed: 30,
      failed: 0,
    });
    const { rows: statements } = await sql<{ count: number }>`
      select count(*) from catalogue.products where sku like 'LONG-%' group by xmin::text
    `.execute(stack.db);
    expect(Math.max(...statements.map(({ count }) => count))).toBeLessThanOrEqual(10);
    expect(statements.length).toBeLessThanOrEqual(5);
  });

  test('keep a hundred of their errors, and count all', async () => {
    const rows = Array.from({ length: 1200 }, (_, number) => `?${number},x,1,USD`);
    const file = `sku,name,price,currency\n${rows.join('\n')}`;
    const ended = await imported('products', file);
    expect(ended).toMatchObject({ processed: 1200, failed: 1200 });
    expect(ended.errors).toHaveLength(100);
  });

  test.each<[string, string | Buffer, RegExp, number]>([
    ['a column that is not known', 'sku,name,price,currency,colour\n', /"colour" is not known/, 0],
    ['a column missing', 'sku,name,price\n', /"currency" is missing/, 0],
    ['a column twice', 'sku,name,price,currency,sku\n', /"sku" is there twice/, 0],
    ['semicolons', 'sku;name;price;currency\nA;B;1;USD\n', /commas/, 0],
    ['no header', 'F-1,Name,1,USD\n', /header is wrong/, 0],
    [
      'a quote that is not closed',
      'sku,name,price,currency\nF-1,A,1,USD\nF-2,"A,1,USD\nF-3,B,1,USD\n',
      /never closed/,
      2,
    ],
    ['an image for a file', Buffer.from('89504e470d0a1a0a0000', 'hex'), /UTF-8/, 0],
  ])('in a file with %s fail, and say why', async (_name, file, why, row) => {
    const ended = await imported('products', file);
    expect(ended).toMatchObject({ status: 'failed', errors: [{ row, detail: expect.stringMatching(why) }] });
  });

  test('can be exported and imported again', async () => {
    const rows = Array.from({ length: 1_200 }, (_, number) => `TRIP-${number},Thing ${number},${number},USD`);
    await imported('products', `sku,name,price,currency\n${rows.join('\n')}`);
    const tricky = ['=1+1', "'=1+1", '@x', '-5', '+5', "'quoted'", 'a "b" c', 'a,b', '"', "''-", '\u202E'];
    for (const [index, name] of tricky.entries()) {
      await api.request('PUT', `/v1/products/TRICKY-${index}`, {
        token: stack.tokens.staff,
        body: { name, description: `${name}\n${name}`, price: 1, currency: 'USD' },
      });
    }
    const csv = await exported('products', 'csv');
    expect(csv).toContain(`TRICKY-0,'=1+1,"'=1+1`);
    const before = await exported('products', 'ndjson');
    expect(before.trim().split('\n').length).toBeGreaterThan(1_200);
    await sql`
      update catalogue.products set name = 'x', description = 'x', category = 'x', price = 7, active = not active
    `.execute(stack.db);
    expect(await imported('products', csv)).toMatchObject({ status: 'completed', failed: 0 });
    expect(await exported('products', 'ndjson')).toBe(before);
    await sql`update catalogue.products set name = 'y', image_url = 'https://x.example'`.execute(stack.db);
    expect(await imported('products', before, NDJSON)).toMatchObject({ status: 'completed', failed: 0 });
    expect(await exported('products', 'csv')).toBe(csv);
    expect(await imported('products', csv)).toMatchObject({ status: 'completed' });
    expect((await product('TRIP-1')).version).toBe(3);
  });

  test('that are ten thousand are imported', { timeout: 240_000 }, async () => {
    const rows = Array.from(
      { length: 10_000 },
      (_, number) => `MANY-${number},Thing ${number},${number},USD`,
    );
    const ended = await imported('products', `sku,name,price,currency\n${rows.join('\n')}`);
    expect(ended).toMatchObject({ status: 'completed', processed: 10_000, failed: 0 });
    expect((await exported('products', 'ndjson')).trim().split('\n').length).toBeGreaterThan(10_000);
  });
});

describe('stock', () => {
  test('is set by the rules for setting it, each difference a movement', async () => {
    await stack.stock('IN-HELD', 0);
    await imported('inventory', 'sku,onHand\nIN-HELD,10');
    await stack.api.place(stack.tokens.john, orderOf([{ sku: 'IN-HELD', quantity: 4 }]));
    const file = [
      'sku,onHand,lowStockThreshold',
      'IN-NEW,7,2',
      'IN-HELD,3,1',
      'IN-NEW,9,',
      'summary,1,1',
      'IN-LESS,-1,',
      'IN-MUCH,99999999999,',
    ].join('\n');
    const ended = await imported('inventory', file);
    expect(ended).toMatchObject({
      status: 'completed',
      processed: 6,
      failed: 4,
      errors: [
        { row: 2, pointer: '/onHand', detail: expect.stringMatching(/4 units are reserved/) },
        { row: 4, pointer: '/sku' },
        { row: 5, pointer: '/onHand' },
        { row: 6, pointer: '/onHand' },
      ],
    });
    expect(await stock('IN-HELD')).toMatchObject({ onHand: 10, reserved: 4, lowStockThreshold: 0 });
    expect(await stock('IN-NEW')).toMatchObject({ onHand: 9, lowStockThreshold: 2, version: 2 });
    const { body } = await api.request('GET', '/v1/inventory/IN-NEW/movements', {
      token: stack.tokens.staff,
    });
    expect(body.data).toMatchObject([
      { type: 'adjustment', quantity: 2, reason: 'import', onHandAfter: 9 },
      { type: 'adjustment', quantity: 7, reason: 'import', onHandAfter: 7 },
    ]);
  });

  test('is set whatever stands in the columns that are only exported', async () => {
    const cells = await imported('inventory', 'sku,onHand,reserved,available\nIN-CSV,1,\0,\0');
    expect(cells).toMatchObject({ status: 'completed', failed: 0 });
    expect(await stock('IN-CSV')).toMatchObject({ onHand: 1, reserved: 0 });
    const lines = ['"\\u0000"', '"\\ud800"', `${'['.repeat(20_000)}${']'.repeat(20_000)}`].map(
      (value, index) =>
        `{"sku":"IN-LINE-${index}","onHand":${index},"reserved":${value},"available":${value}}`,
    );
    const ended = await imported('inventory', lines.join('\n'), NDJSON);
    expect(ended).toMatchObject({ status: 'completed', processed: 3, failed: 0 });
    expect(await stock('IN-LINE-2')).toMatchObject({ onHand: 2, reserved: 0 });
  });

  test('is exported and imported again', async () => {
    const csv = await exported('inventory', 'csv');
    expect(csv.split('\n')[0]).toBe('sku,onHand,lowStockThreshold,reserved,available');
    expect(await imported('inventory', csv)).toMatchObject({ status: 'completed', failed: 0 });
    expect(await exported('inventory', 'csv')).toBe(csv);
    const lines = await exported('inventory', 'ndjson');
    expect(await imported('inventory', lines, NDJSON)).toMatchObject({ status: 'completed', failed: 0 });
    expect(await exported('inventory', 'ndjson')).toBe(lines);
  });

  test('is set once for each row, also when the process that does it is killed', async () => {
    // One sku in a hundred rows is counted up: a row that is taken twice makes a movement too many.
    const rows = Array.from({ length: 20_000 }, (_, number) =>
      number % 100 === 0 ? `KILL-COUNT,${number / 100 + 1}` : `KILL-${number},${(number % 9) + 1}`,
    );
    const { body } = await send('inventory', `sku,onHand\n${rows.join('\n')}`);
    await eventually('some rows are taken', async () => (await look(body.id)).processed > 0);
    await worker.kill();
    expect((await look(body.id)).status).toBe('running');
    worker = await stack.startWorker();
    const ended = await eventually(
      'the import ends',
      async () => {
        const now = await look(body.id);
        return now.status === 'running' ? undefined : now;
      },
      90,
    );
    expect(ended).toMatchObject({ status: 'completed', processed: 20_000, failed: 0 });
    const { rows: found } = await sql<{ skus: number; movements: number; counted: number }>`
      select (select count(*) from inventory.stock where sku like 'KILL-%') as skus,
        (select count(*) from inventory.movements where sku like 'KILL-%') as movements,
        (select on_hand from inventory.stock where sku = 'KILL-COUNT') as counted
    `.execute(stack.db);
    expect(found).toEqual([{ skus: 19_801, movements: 20_000, counted: 200 }]);
  });
});

describe('a file', () => {
  const header = 'sku,name,price,currency\n';

  test('is imported once for one key', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => send('products', `${header}ONCE,x,1,USD`, CSV, headers)),
    );
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1);
    expect(answers[0]!.status).toBe(202);
    expect(answers.filter((answer) => answer.headers.get('idempotent-replayed') === 'true')).toHaveLength(4);
    const other = await send('products', `${header}TWICE,x,1,USD`, CSV, headers);
    expectProblem(other, 422, 'idempotency_key_reused');
    await eventually('nothing is left behind', async () => (await leftBehind()) === 0);
  });

  test('whose sending breaks off leaves nothing behind', async () => {
    const before = await count();
    const sent = request(`${stack.api.url}/v1/imports?type=products`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.tokens.staff}`,
        'content-type': CSV,
        'content-length': 10_000_000,
      },
    });
    sent.on('error', () => undefined);
    sent.write(header + 'BROKEN,x,1,USD\n'.repeat(80_000));
    await eventually('a piece of it is here', async () => (await leftBehind()) > 0);
    sent.destroy();
    await eventually('nothing is left behind', async () => (await leftBehind()) === 0);
    expect(await count()).toBe(before);
    expect((await api.request('GET', '/v1/products/BROKEN')).status).toBe(404);
  });

  test('whose process was killed while it was sent is forgotten by reconciling', async () => {
    await sql`
      insert into importing.chunks (upload_id, number, content, created_at)
      select '00000000-0000-4000-8000-000000000000', number, 'x', now() - interval '2 days'
      from generate_series(0, 2) as number
    `.execute(stack.db);
    await stack.temporal.schedule.getHandle('reconcile').trigger();
    expect(await eventually('it is forgotten', async () => (await leftBehind()) === 0)).toBe(true);
  });

  test('that is too large, empty, or of another kind is told', async () => {
    const claimed = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(
        `${stack.api.url}/v1/imports?type=products`,
        {
          method: 'POST',
          headers: {
            authorization: `Bearer ${stack.tokens.staff}`,
            'content-type': CSV,
            'content-length': 10_000_000_000,
          },
        },
        (response) => {
          resolve(response.statusCode);
          sent.destroy();
        },
      );
      sent.on('error', reject);
      sent.write(header);
    });
    expect(claimed).toBe(413);
    expectProblem(await send('products', ''), 422, 'validation_failed');
    for (const type of ['application/json', 'text/csv; charset=latin1', 'text/plain', '']) {
      expectProblem(await send('products', header, type), 415, 'unsupported_media_type');
    }
    expectProblem(await send('products', header, CSV, { 'content-encoding': 'gzip' }), 415);
    expectProblem(await send('customers', header), 400, 'invalid_query');
    expect((await send('products', header, 'Text/CSV; charset="UTF-8"')).status).toBe(202);
  });

  test('that was never sent is not found', async () => {
    for (const id of [randomUUID(), 'x', '%00']) {
      const answer = await api.request('GET', `/v1/imports/${id}`, { token: stack.tokens.staff });
      expectProblem(answer, 404, 'not_found');
    }
  });

  const count = async () =>
    (
      await stack.db
        .selectFrom('importing.imports')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
    ).count;
});

describe('orders', () => {
  test('are exported with their lines', async () => {
    const { body: order } = await stack.api.place(
      stack.tokens.john,
      orderOf([
        { sku: 'MOUSE-WL', quantity: 2 },
        { sku: 'LAPTOP-15', quantity: 1 },
      ]),
    );
    const lines = (await exported('orders', 'ndjson')).trim().split('\n');
    const told = lines.map((line) => JSON.parse(line)).find(({ id }) => id === order.id);
    expect(told).toMatchObject({
      number: order.number,
      total: order.total,
      lines: [
        { sku: 'MOUSE-WL', quantity: 2, unitPrice: 2999 },
        { sku: 'LAPTOP-15', quantity: 1 },
      ],
    });
    const csv = await exported('orders', 'csv');
    expect(csv.split('\n')[0]).toMatch(/^id,number,customerId,status/);
    expect(csv).toContain(`${order.id},${order.number},`);
  });

  test('and all else come as files', async () => {
    const { headers } = await api.request('GET', '/v1/exports/orders', { token: stack.tokens.staff });
    expect(headers.get('content-type')).toBe('text/csv; charset=utf-8');
    expect(headers.get('content-disposition')).toBe('attachment; filename="orders.csv"');
    const bad = await api.request('GET', '/v1/exports/orders?format=xml', { token: stack.tokens.staff });
    expectProblem(bad, 400, 'invalid_query');
    expectProblem(
      await api.request('GET', '/v1/exports/users', { token: stack.tokens.staff }),
      404,
      'not_found',
    );
  });
});

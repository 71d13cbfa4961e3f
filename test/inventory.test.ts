import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Movement, StockLevel } from '../db/inventory.ts';
import { type Answer, type Api, orderOf } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { conforming } from './harness/openapi.ts';
import { expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
let api: Api;
beforeAll(async () => {
  stack = await startStack();
  api = await conforming(stack.api);
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});

const ask = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  api.request(method, `/v1/inventory${path}`, { token: stack.tokens.staff, body, headers });
const put = (sku: string, body: unknown, headers?: Record<string, string>) =>
  ask('PUT', `/${sku}`, body, headers);
const adjust = (sku: string, delta: number, headers: Record<string, string> = {}, reason = 'counted') =>
  ask('POST', `/${sku}/adjustments`, { delta, reason }, headers);
const movements = async (sku: string): Promise<Movement[]> =>
  (await ask('GET', `/${sku}/movements?limit=100`)).body.data;

/** Makes a product with stock through the API, and orders some of it. */
async function reserved(sku: string, onHand: number, quantity: number): Promise<string> {
  await stack.db
    .insertInto('catalogue.products')
    .values({ sku, name: `Product ${sku}`, price: 100, currency: 'USD' })
    .execute();
  await put(sku, { onHand });
  const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku, quantity }]));
  expect(body.status).toBe('confirmed');
  return body.id;
}

describe('setting what is on hand', () => {
  test('makes the stock of a new sku, then sets it; the version counts', async () => {
    const made = await put('SET-NEW', { onHand: 7 });
    expect(made).toMatchObject({
      status: 201,
      body: { sku: 'SET-NEW', onHand: 7, reserved: 0, available: 7, lowStockThreshold: 0, version: 1 },
    });
    expect(made.headers.get('etag')).toBe('"1"');
    const set = await put('SET-NEW', { onHand: 3, lowStockThreshold: 5 });
    expect(set).toMatchObject({
      status: 200,
      body: { onHand: 3, available: 3, lowStockThreshold: 5, version: 2 },
    });
    expect(set.headers.get('etag')).toBe('"2"');
    const kept = await put('SET-NEW', { onHand: 3 });
    expect(kept.body.lowStockThreshold).toBe(5);
    const read = await ask('GET', '/SET-NEW');
    expect(read.body).toEqual(kept.body);
    expect(read.headers.get('etag')).toBe(kept.headers.get('etag'));
    expect(await movements('SET-NEW')).toMatchObject([
      { type: 'adjustment', quantity: -4, onHandAfter: 3, reservedAfter: 0 },
      { type: 'adjustment', quantity: 7, onHandAfter: 7, reservedAfter: 0 },
    ]);
  });

  test('to zero is fine; below what is reserved is a conflict that changes nothing', async () => {
    await put('SET-ZERO', { onHand: 7 });
    expect((await put('SET-ZERO', { onHand: 0 })).body).toMatchObject({ onHand: 0, available: 0 });
    await reserved('SET-RESERVED', 10, 4);
    const before = (await ask('GET', '/SET-RESERVED')).body;
    const refused = await put('SET-RESERVED', { onHand: 3 });
    expectProblem(refused, 409, 'below_reserved');
    expect(refused.body.reserved).toBe(4);
    expect((await ask('GET', '/SET-RESERVED')).body).toEqual(before);
    expect((await put('SET-RESERVED', { onHand: 4 })).body).toMatchObject({
      onHand: 4,
      reserved: 4,
      available: 0,
    });
  });

  test('at a version that is not the current one any more is refused: 412', async () => {
    await put('SET-MATCH', { onHand: 5 });
    expect((await put('SET-MATCH', { onHand: 6 }, { 'if-match': '"1"' })).status).toBe(200);
    for (const stale of ['"1"', '"1", "99"', '"99"', 'W/"2"', '"two"', '""', '"02"'])
      expectProblem(await put('SET-MATCH', { onHand: 9 }, { 'if-match': stale }), 412, 'version_conflict');
    expect((await ask('GET', '/SET-MATCH')).body).toMatchObject({ onHand: 6, version: 2 });
    expect((await put('SET-MATCH', { onHand: 7 }, { 'if-match': '*' })).status).toBe(200);
    expect((await put('SET-MATCH', { onHand: 8 }, { 'if-match': '"2", W/"4" ,"3"' })).status).toBe(200);
    for (const none of ['"1"', '"0"', '"1", "0"', '*'])
      expectProblem(await put('SET-NOTHING', { onHand: 1 }, { 'if-match': none }), 412, 'version_conflict');
    expectProblem(await ask('GET', '/SET-NOTHING'), 404, 'not_found');
  });

  test.each(['1', 'W/1', '"1', 'abc', "'1'", '"a"b"', '"1" "2"', '"1", 2', '"1",', '*, "1"'])(
    'with If-Match %s is told: 400',
    async (tag) => {
      await put('SET-HEADER', { onHand: 1 });
      expectProblem(await put('SET-HEADER', { onHand: 2 }, { 'if-match': tag }), 400, 'invalid_header');
    },
  );

  test('by 10 at once at one version: one of them does it', async () => {
    await put('SET-RACE', { onHand: 1 });
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => put('SET-RACE', { onHand: 10 + n }, { 'if-match': '"1"' })),
    );
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1);
    expect(answers.filter((answer) => answer.status === 412)).toHaveLength(9);
    const winner = answers.find((answer) => answer.status === 200)!;
    expect((await ask('GET', '/SET-RACE')).body).toEqual(winner.body);
  });

  test('while it is deleted makes it anew', async () => {
    await put('SET-DELETED', { onHand: 0, lowStockThreshold: 2 });
    const putting = await stack.db.transaction().execute(async (trx) => {
      await trx
        .selectFrom('inventory.stock')
        .select('sku')
        .where('sku', '=', 'SET-DELETED')
        .forUpdate()
        .execute();
      const answer = put('SET-DELETED', { onHand: 7 });
      await eventually('it waits for the stock', async () => {
        const { rows } = await sql`
          select from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock' and query like '%"inventory"."stock"%'
        `.execute(stack.db);
        return rows.length > 0;
      });
      await trx.deleteFrom('inventory.stock').where('sku', '=', 'SET-DELETED').execute();
      return { answer };
    });
    expect(await putting.answer).toMatchObject({
      status: 201,
      body: { onHand: 7, lowStockThreshold: 0, version: 1 },
    });
  });

  test('of a new sku by 10 at once makes it once', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => put('SET-FIRST', { onHand: 5 })));
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(1);
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(9);
    expect(await movements('SET-FIRST')).toHaveLength(1);
  });

  test.each([
    [{}, '/onHand'],
    [{ onHand: -1 }, '/onHand'],
    [{ onHand: 1.5 }, '/onHand'],
    [{ onHand: '5' }, '/onHand'],
    [{ onHand: null }, '/onHand'],
    [{ onHand: 1_000_000_001 }, '/onHand'],
    [{ onHand: [1] }, '/onHand'],
    [{ onHand: 1, lowStockThreshold: -1 }, '/lowStockThreshold'],
    [{ onHand: 1, lowStockThreshold: 0.5 }, '/lowStockThreshold'],
    [{ onHand: 1, reserved: 0 }, '/reserved'],
    [{ onHand: 1, version: 1 }, '/version'],
    [[], ''],
    [null, ''],
    ['1', ''],
  ])('to %j is told where it is wrong', async (body, pointer) => {
    expectProblem(await put('SET-BAD', body), 422, 'validation_failed', pointer);
    expectProblem(await ask('GET', '/SET-BAD'), 404, 'not_found');
  });
});

describe('removing stock', () => {
  test('takes what is left off the ledger; the sku is gone and can come back', async () => {
    await put('REMOVE', { onHand: 3 });
    expect(await ask('DELETE', '/REMOVE')).toMatchObject({ status: 204, body: '' });
    expectProblem(await ask('GET', '/REMOVE'), 404, 'not_found');
    expectProblem(await ask('DELETE', '/REMOVE'), 404, 'not_found');
    expect(await movements('REMOVE')).toMatchObject([{ quantity: -3, onHandAfter: 0 }, { quantity: 3 }]);
    expect((await put('REMOVE', { onHand: 1 })).status).toBe(201);
  });

  test('that orders hold is refused until they let go', async () => {
    const order = await reserved('REMOVE-HELD', 5, 2);
    const refused = await ask('DELETE', '/REMOVE-HELD');
    expectProblem(refused, 409, 'stock_reserved');
    expect(refused.body.reserved).toBe(2);
    expect((await ask('GET', '/REMOVE-HELD')).body).toMatchObject({ onHand: 5, reserved: 2, available: 3 });
    await stack.api.request('DELETE', `/v1/orders/${order}`, { token: stack.tokens.john });
    expect((await ask('DELETE', '/REMOVE-HELD')).status).toBe(204);
  });
});

describe('adjusting stock', () => {
  test('adds and takes away, and writes why', async () => {
    await put('ADJUST', { onHand: 10 });
    const more = await adjust('ADJUST', 5, {}, 'delivery 4711');
    expect(more).toMatchObject({ status: 200, body: { onHand: 15, available: 15, version: 2 } });
    expect(more.headers.get('etag')).toBe('"2"');
    expect((await adjust('ADJUST', -15, {}, 'fire')).body).toMatchObject({ onHand: 0, available: 0 });
    expect(await movements('ADJUST')).toMatchObject([
      { type: 'adjustment', quantity: -15, reason: 'fire', onHandAfter: 0 },
      { type: 'adjustment', quantity: 5, reason: 'delivery 4711', onHandAfter: 15 },
      { type: 'adjustment', quantity: 10, onHandAfter: 10 },
    ]);
  });

  test('below zero, or into what is reserved, is a conflict that changes nothing', async () => {
    await put('ADJUST-LOW', { onHand: 3 });
    expectProblem(await adjust('ADJUST-LOW', -4), 409, 'insufficient_stock');
    await reserved('ADJUST-HELD', 5, 4);
    const refused = await adjust('ADJUST-HELD', -2);
    expectProblem(refused, 409, 'insufficient_stock');
    expect(refused.body.available).toBe(1);
    expect((await ask('GET', '/ADJUST-LOW')).body).toMatchObject({ onHand: 3, version: 1 });
    expect((await adjust('ADJUST-HELD', -1)).body).toMatchObject({ onHand: 4, reserved: 4, available: 0 });
  });

  test('of a sku without stock is not found; more than a stock can hold is told', async () => {
    expectProblem(await adjust('ADJUST-NONE', 1), 404, 'not_found');
    await put('ADJUST-HUGE', { onHand: 1_000_000_000 });
    expect((await adjust('ADJUST-HUGE', 1_000_000_000)).body.onHand).toBe(2_000_000_000);
    expectProblem(await adjust('ADJUST-HUGE', 1), 422, 'validation_failed', '/delta');
    expect((await ask('GET', '/summary')).status).toBe(200);
    await ask('DELETE', '/ADJUST-HUGE');
  });

  test.each([
    [{ delta: 0, reason: 'x' }, '/delta'],
    [{ delta: 1.5, reason: 'x' }, '/delta'],
    [{ delta: '1', reason: 'x' }, '/delta'],
    [{ delta: 1_000_000_001, reason: 'x' }, '/delta'],
    [{ delta: -1_000_000_001, reason: 'x' }, '/delta'],
    [{ reason: 'x' }, '/delta'],
    [{ delta: 1 }, '/reason'],
    [{ delta: 1, reason: '' }, '/reason'],
    [{ delta: 1, reason: '  ' }, '/reason'],
    [{ delta: 1, reason: 'x'.repeat(501) }, '/reason'],
    [{ delta: 1, reason: 'a\0b' }, '/reason'],
    [{ delta: 1, reason: '\ud800' }, '/reason'],
    [{ delta: 1, reason: 5 }, '/reason'],
    [{ delta: 1, reason: 'x', sku: 'OTHER' }, '/sku'],
  ])('by %j is told where it is wrong', async (body, pointer) => {
    const answer = await ask('POST', '/MOUSE-WL/adjustments', body);
    expectProblem(answer, 422, 'validation_failed', pointer);
  });

  test('keeps the reason as it was written, in any script', async () => {
    await put('ADJUST-TEXT', { onHand: 0 });
    for (const reason of [
      'ספירה 😀 𠜎',
      "'; drop table inventory.stock; --",
      '<b>"&amp;',
      '\u202Eevil',
      '%s %n',
    ])
      await adjust('ADJUST-TEXT', 1, {}, reason);
    expect((await movements('ADJUST-TEXT')).map((movement) => movement.reason)).toEqual([
      '%s %n',
      '\u202Eevil',
      '<b>"&amp;',
      "'; drop table inventory.stock; --",
      'ספירה 😀 𠜎',
    ]);
  });

  test('20 at once all count', async () => {
    await put('ADJUST-MANY', { onHand: 50 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => adjust('ADJUST-MANY', n % 2 ? 3 : -1)),
    );
    expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200));
    expect((await ask('GET', '/ADJUST-MANY')).body).toMatchObject({ onHand: 70, version: 21 });
    expect(await movements('ADJUST-MANY')).toHaveLength(21);
  });

  test.each([
    ['a deadlock', '40P01'],
    ['a conflict', '40001'],
  ])('that Postgres undoes for %s is a 503, and counts when it is sent again', async (_name, sqlState) => {
    const sku = `ADJUST-${sqlState}`;
    await put(sku, { onHand: 5 });
    await sql`
      create function inventory.undo() returns trigger language plpgsql as $$
      begin raise 'for others' using errcode = ${sql.lit(sqlState)}; end $$;
      create trigger undo before insert on inventory.movements
      for each row when (new.sku = ${sql.lit(sku)}) execute function inventory.undo()
    `.execute(stack.db);
    const key = { 'idempotency-key': randomUUID() };
    try {
      const undone = await adjust(sku, 1, key);
      expectProblem(undone, 503, 'unavailable');
      expect(Number(undone.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      await sql`drop function inventory.undo() cascade`.execute(stack.db);
    }
    const again = await adjust(sku, 1, key);
    expect(again).toMatchObject({ status: 200, body: { onHand: 6, version: 2 } });
    expect(again.headers.get('idempotent-replayed')).toBeNull();
  });

  test('20 at once for 5 units: exactly 5 get one', async () => {
    await put('ADJUST-RACE', { onHand: 5 });
    const answers = await Promise.all(Array.from({ length: 20 }, () => adjust('ADJUST-RACE', -1)));
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(5);
    expect(answers.filter((answer) => answer.status === 409)).toHaveLength(15);
    expect((await ask('GET', '/ADJUST-RACE')).body.onHand).toBe(0);
  });
});

describe('one Idempotency-Key of an adjustment', () => {
  test('adjusts once, also 10 times at once, and tells the replays', async () => {
    await put('KEY', { onHand: 10 });
    const key = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all(Array.from({ length: 10 }, () => adjust('KEY', 5, key)));
    expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200));
    expect(answers.map((answer) => answer.body.onHand)).toEqual(answers.map(() => 15));
    expect(answers.filter((answer) => answer.headers.get('idempotent-replayed') === null)).toHaveLength(1);
    await adjust('KEY', 1);
    const late = await adjust('KEY', 5, key);
    expect(late.headers.get('idempotent-replayed')).toBe('true');
    expect(late.body.onHand).toBe(16);
    const disguised = await ask('POST', '/K%45Y/adjustments', { delta: 5, reason: 'counted' }, key);
    expect(disguised.body.onHand).toBe(16);
  });

  test('with another body is refused', async () => {
    await put('KEY-BODY', { onHand: 10 });
    const key = { 'idempotency-key': randomUUID() };
    await adjust('KEY-BODY', 1, key);
    expectProblem(await adjust('KEY-BODY', 2, key), 422, 'idempotency_key_reused');
    expectProblem(await adjust('KEY-BODY', 1, key, 'another reason'), 422, 'idempotency_key_reused');
    expect((await ask('GET', '/KEY-BODY')).body.onHand).toBe(11);
  });

  test('is not consumed by an error', async () => {
    await put('KEY-ERROR', { onHand: 1 });
    const key = { 'idempotency-key': randomUUID() };
    expectProblem(await adjust('KEY-ERROR', -2, key), 409, 'insufficient_stock');
    await adjust('KEY-ERROR', 1);
    const done = await adjust('KEY-ERROR', -2, key);
    expect(done).toMatchObject({ status: 200, body: { onHand: 0 } });
    expect(done.headers.get('idempotent-replayed')).toBeNull();
  });

  test('of another caller, or at another sku, is another key', async () => {
    await put('KEY-A', { onHand: 0 });
    await put('KEY-B', { onHand: 0 });
    const headers = { 'idempotency-key': 'everybody uses 1' };
    await adjust('KEY-A', 1, headers);
    expect((await adjust('KEY-B', 1, headers)).body.onHand).toBe(1);
    const body = { delta: 1, reason: 'counted' };
    const admins = await api.request('POST', '/v1/inventory/KEY-A/adjustments', {
      token: stack.tokens.admin,
      body,
      headers,
    });
    expect(admins.body.onHand).toBe(2);
  });

  test.each([['x'.repeat(256)], [''], ['é'], ['a\tb']])('%j is none', async (key) => {
    const answer = await adjust('MOUSE-WL', 1, { 'idempotency-key': key });
    expectProblem(answer, 400, 'invalid_idempotency_key');
  });
});

describe('the ledger', () => {
  test('tells what orders did, and both counters can be rebuilt from it at any line', async () => {
    const order = await reserved('LEDGER', 10, 4);
    await adjust('LEDGER', -1);
    await stack.api.request('DELETE', `/v1/orders/${order}`, { token: stack.tokens.john });
    await adjust('LEDGER', 6);
    const lines = (await movements('LEDGER')).toReversed();
    expect(lines).toMatchObject([
      { type: 'adjustment', quantity: 10, onHandAfter: 10, reservedAfter: 0 },
      { type: 'reservation', quantity: 4, orderId: order, onHandAfter: 10, reservedAfter: 4 },
      { type: 'adjustment', quantity: -1, onHandAfter: 9, reservedAfter: 4 },
      { type: 'release', quantity: 4, orderId: order, onHandAfter: 9, reservedAfter: 0 },
      { type: 'adjustment', quantity: 6, onHandAfter: 15, reservedAfter: 0 },
    ]);
    let [onHand, held] = [0, 0];
    for (const { type, quantity, onHandAfter, reservedAfter } of lines) {
      if (type === 'adjustment') onHand += quantity;
      else held += type === 'reservation' ? quantity : -quantity;
      expect([onHandAfter, reservedAfter]).toEqual([onHand, held]);
    }
    expect((await ask('GET', '/LEDGER')).body).toMatchObject({
      onHand,
      reserved: held,
      available: onHand - held,
    });
  });

  test('is read newest first, page by page, each line once', async () => {
    await put('LEDGER-PAGES', { onHand: 1 });
    for (let index = 0; index < 6; index += 1) await adjust('LEDGER-PAGES', 1);
    const seen: Movement[] = [];
    for (let path: string | undefined = '/LEDGER-PAGES/movements?limit=3'; path !== undefined;) {
      const page: Answer = await ask('GET', path);
      seen.push(...page.body.data);
      const next = page.headers.get('link')?.match(/^<\/v1\/inventory([^>]+)>; rel="next"$/)?.[1];
      expect(next === undefined).toBe(page.body.nextCursor === null);
      path = next;
    }
    expect(seen).toEqual(await movements('LEDGER-PAGES'));
    expect(seen.map((line) => line.onHandAfter)).toEqual([7, 6, 5, 4, 3, 2, 1]);
  });

  test('of a sku that never was is not found', async () => {
    expectProblem(await ask('GET', '/NEVER-WAS/movements'), 404, 'not_found');
  });
});

describe('the stock list', () => {
  test('has every sku once, by sku, page by page; available is what is not reserved', async () => {
    const seen: StockLevel[] = [];
    for (let path: string | undefined = '?limit=4'; path !== undefined;) {
      const page: Answer = await ask('GET', path);
      expect(page.status).toBe(200);
      seen.push(...page.body.data);
      path = page.headers.get('link')?.match(/^<\/v1\/inventory([^>]+)>; rel="next"$/)?.[1];
    }
    const rows = await stack.db.selectFrom('inventory.stock').select('sku').orderBy('sku').execute();
    expect(seen.map((stock) => stock.sku)).toEqual(rows.map((row) => row.sku));
    for (const stock of seen) expect(stock.available).toBe(stock.onHand - stock.reserved);
  });

  test('with lowStock=true has what is at or below its threshold', async () => {
    await put('LOW-AT', { onHand: 5, lowStockThreshold: 5 });
    await put('LOW-ABOVE', { onHand: 6, lowStockThreshold: 5 });
    await put('LOW-EMPTY', { onHand: 0 });
    await reserved('LOW-HELD', 10, 8);
    await put('LOW-HELD', { onHand: 10, lowStockThreshold: 2 });
    const low = async (query: string) => {
      const { body } = await ask('GET', `?limit=100&${query}`);
      return body.data
        .map((stock: { sku: string }) => stock.sku)
        .filter((sku: string) => sku.startsWith('LOW-'));
    };
    expect(await low('lowStock=true')).toEqual(['LOW-AT', 'LOW-EMPTY', 'LOW-HELD']);
    const all = ['LOW-ABOVE', 'LOW-AT', 'LOW-EMPTY', 'LOW-HELD'];
    expect(await low('lowStock=false')).toEqual(all);
    expect(await low('')).toEqual(all);
    await adjust('LOW-AT', 1);
    expect(await low('lowStock=true')).toEqual(['LOW-EMPTY', 'LOW-HELD']);
  });

  test('is summed up', async () => {
    const { body } = await ask('GET', '/summary');
    const rows = await stack.db.selectFrom('inventory.stock').selectAll().execute();
    const sum = (of: (row: (typeof rows)[number]) => number) =>
      rows.reduce((total, row) => total + of(row), 0);
    expect(body).toEqual({
      skus: rows.length,
      onHand: sum((row) => row.on_hand),
      reserved: sum((row) => row.reserved),
      available: sum((row) => row.on_hand - row.reserved),
      lowStock: rows.filter((row) => row.on_hand - row.reserved <= row.low_stock_threshold).length,
      outOfStock: rows.filter((row) => row.on_hand === row.reserved).length,
    });
  });

  test.each([
    'lowStock=yes',
    'lowStock=',
    'lowStock=1',
    'lowStock=true&lowStock=true',
    'limit=0',
    'limit=101',
    'x=1',
  ])('?%s is told', async (query) => {
    expectProblem(await ask('GET', `?${query}`), 400, 'invalid_query');
  });

  const cursor = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  test.each([
    ['', 'x'],
    ['', '%00'],
    ['', cursor('\0')],
    ['', cursor('\ud800')],
    ['', cursor("' or 1=1 --")],
    ['', cursor(1)],
    ['', cursor(['MOUSE-WL'])],
    ['/MOUSE-WL/movements', 'x'],
    ['/MOUSE-WL/movements', cursor('MOUSE-WL')],
    ['/MOUSE-WL/movements', cursor(0)],
    ['/MOUSE-WL/movements', cursor(-1)],
    ['/MOUSE-WL/movements', cursor(1.5)],
    ['/MOUSE-WL/movements', cursor(1e300)],
  ])('%s?cursor=%s that nobody gave out is told', async (path, bad) => {
    expectProblem(await ask('GET', `${path}?cursor=${bad}`), 400, 'invalid_cursor');
  });
});

describe('an order on its way', () => {
  const send = async (method: string, path: string, body?: unknown) => {
    const answer = await api.request(method, path, { token: stack.tokens.staff, body });
    expect(answer.status).toBeLessThan(300);
    return answer.body;
  };
  const returning = async (orderId: string, lineId: string, quantity: number) => {
    const body = { lines: [{ lineId, quantity }], reason: 'broken' };
    const { id } = await send('POST', `/v1/orders/${orderId}/returns`, body);
    await send('POST', `/v1/returns/${id}/approve`);
    expect(await send('POST', `/v1/returns/${id}/receive`)).toMatchObject({ status: 'refunded' });
  };

  test('takes shipped units out of both counters, and brings returned ones back', async () => {
    const orderId = await reserved('ON-ITS-WAY', 10, 4);
    const lineId = (await send('GET', `/v1/orders/${orderId}`)).lines[0].id;
    const shipment = { carrier: 'UPS', lines: [{ lineId, quantity: 3 }] };
    const { id } = await send('POST', `/v1/orders/${orderId}/shipments`, shipment);
    expect((await ask('GET', '/ON-ITS-WAY')).body).toMatchObject({ onHand: 7, reserved: 1, available: 6 });
    await send('DELETE', `/v1/orders/${orderId}`);
    expect((await ask('GET', '/ON-ITS-WAY')).body).toMatchObject({ onHand: 7, reserved: 0, available: 7 });
    await send('POST', `/v1/shipments/${id}/deliver`);
    await returning(orderId, lineId, 2);
    expect((await ask('GET', '/ON-ITS-WAY')).body).toMatchObject({ onHand: 9, reserved: 0, available: 9 });
    expect(await movements('ON-ITS-WAY')).toMatchObject([
      { type: 'return', quantity: 2, orderId, onHandAfter: 9, reservedAfter: 0 },
      { type: 'release', quantity: 1, orderId, onHandAfter: 7, reservedAfter: 0 },
      { type: 'shipment', quantity: 3, orderId, onHandAfter: 7, reservedAfter: 1 },
      { type: 'reservation', quantity: 4, orderId, onHandAfter: 10, reservedAfter: 4 },
      { type: 'adjustment', quantity: 10, onHandAfter: 10, reservedAfter: 0 },
    ]);

    expect((await ask('DELETE', '/ON-ITS-WAY')).status).toBe(204);
    await returning(orderId, lineId, 1);
    expect((await ask('GET', '/ON-ITS-WAY')).body).toMatchObject({ onHand: 1, reserved: 0, available: 1 });
  });
});

describe('the stock manager', () => {
  /** What was told of a sku, oldest first. */
  const told = async (sku: string) => {
    const { rows } = await sql<{ id: string; template: string; available: number }>`
      select id, template, (variables ->> 'available')::int as available from messaging.notifications
      where variables ->> 'sku' = ${sku} and recipient = 'stock@example.com' order by created_at, available desc
    `.execute(stack.db);
    return rows;
  };
  const hears = async (sku: string) =>
    (await told(sku)).map(({ template, available }) => [template, available]);

  test('hears once when stock comes down to its threshold, by whatever way, and again the next time', async () => {
    const first = await reserved('TELL-LOW', 10, 3);
    await put('TELL-LOW', { onHand: 10, lowStockThreshold: 5 });
    expect(await hears('TELL-LOW')).toEqual([]);
    const { body: second } = await stack.api.place(
      stack.tokens.john,
      orderOf([{ sku: 'TELL-LOW', quantity: 2 }]),
    );
    expect(await hears('TELL-LOW')).toEqual([['low-stock', 5]]);
    await adjust('TELL-LOW', -1);
    await stack.api.place(stack.tokens.john, orderOf([{ sku: 'TELL-LOW', quantity: 1000 }]));
    expect(await hears('TELL-LOW')).toHaveLength(1);
    await stack.api.request('DELETE', `/v1/orders/${first}`, { token: stack.tokens.john });
    await stack.api.request('DELETE', `/v1/orders/${second.id}`, { token: stack.tokens.john });
    await put('TELL-LOW', { onHand: 4 });
    expect(await hears('TELL-LOW')).toEqual([
      ['low-stock', 5],
      ['low-stock', 4],
    ]);
  });

  test('hears once of the last unit of many that are bought at once', async () => {
    await reserved('TELL-MANY', 20, 1);
    await put('TELL-MANY', { onHand: 20, lowStockThreshold: 10 });
    await Promise.all(
      Array.from({ length: 18 }, () =>
        stack.api.place(stack.tokens.john, orderOf([{ sku: 'TELL-MANY', quantity: 1 }])),
      ),
    );
    expect(await told('TELL-MANY')).toHaveLength(1);
  });

  test('hears when it is back, but not of what is new', async () => {
    await put('TELL-BACK', { onHand: 3 });
    expect(await hears('TELL-BACK')).toEqual([]);
    await adjust('TELL-BACK', -3);
    await adjust('TELL-BACK', 2);
    await adjust('TELL-BACK', 1);
    expect(await hears('TELL-BACK')).toEqual([['back-in-stock', 2]]);
    await put('TELL-BACK', { onHand: 0 });
    await put('TELL-BACK', { onHand: 9, lowStockThreshold: 1 });
    expect(await hears('TELL-BACK')).toEqual([
      ['back-in-stock', 2],
      ['back-in-stock', 9],
    ]);
    await adjust('TELL-BACK', -9);
    for (const subject of ['TELL-BACK is back in stock', 'TELL-BACK is low: 0 left']) {
      const mails = async () =>
        (await stack.mailsAbout(subject)).filter(({ to }) => to[0]?.address === 'stock@example.com');
      expect(await eventually(`a mail: ${subject}`, async () => (await mails()).length)).toBeGreaterThan(0);
    }
  });
});

describe('the ledger alone', () => {
  test('is enough to rebuild both counters after a mixed life', async () => {
    const staff = { token: stack.tokens.staff };
    const send = async (path: string, body: unknown = {}) => {
      const answer = await api.request('POST', path, { ...staff, body });
      expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
      return answer.body;
    };
    const order = await reserved('LIFE', 20, 6);
    const { lines } = (await api.request('GET', `/v1/orders/${order}`, staff)).body;
    const units = (quantity: number) => [{ lineId: lines[0].id, quantity }];
    await adjust('LIFE', 5);
    await send(`/v1/orders/${order}/cancel`, { lines: units(1) });
    const { id } = await send(`/v1/orders/${order}/shipments`, { carrier: 'UPS', lines: units(3) });
    await put('LIFE', { onHand: 12 });
    await send(`/v1/shipments/${id}/deliver`);
    const returned = await send(`/v1/orders/${order}/returns`, { lines: units(2), reason: 'broken' });
    await send(`/v1/returns/${returned.id}/approve`);
    await send(`/v1/returns/${returned.id}/receive`);
    await stack.api.place(stack.tokens.jane, orderOf([{ sku: 'LIFE', quantity: 4 }]));
    await stack.api.place(stack.tokens.jane, orderOf([{ sku: 'LIFE', quantity: 400 }]));
    await adjust('LIFE', -1);

    const { rows } = await sql<{ onHand: number; reserved: number }>`
      select
        sum(case type when 'adjustment' then quantity when 'return' then quantity when 'shipment' then -quantity
          else 0 end)::int as "onHand",
        sum(case type when 'reservation' then quantity when 'release' then -quantity when 'shipment' then -quantity
          else 0 end)::int as reserved
      from inventory.movements where sku = 'LIFE'
    `.execute(stack.db);
    const { onHand, reserved: held } = (await ask('GET', '/LIFE')).body;
    expect(rows).toEqual([{ onHand, reserved: held }]);
    expect([onHand, held]).toEqual([13, 6]);
    expect(new Set((await movements('LIFE')).map(({ type }) => type)).size).toBe(5);
  });

  test.each([
    'update inventory.movements set quantity = 1',
    'delete from inventory.movements',
    'truncate inventory.movements',
  ])('is only ever added to: %s', async (statement) => {
    await expect(sql.raw(statement).execute(stack.db)).rejects.toThrow('append-only');
  });
});

describe('a strange sku', () => {
  test.each([
    '%00',
    'A%00B',
    '%F0%9F%98%80',
    "A'%20or%201=1",
    '-',
    '.',
    '__proto__',
    'x'.repeat(65),
    'A%2FB',
    '%20',
  ])('%s names no stock, and makes none', async (sku) => {
    const headers = { 'idempotency-key': randomUUID() };
    const answers = [
      await stack.api.request('GET', `/v1/inventory/${sku}`, { token: stack.tokens.staff }),
      await stack.api.request('PUT', `/v1/inventory/${sku}`, {
        token: stack.tokens.staff,
        body: { onHand: 1 },
      }),
      await stack.api.request('DELETE', `/v1/inventory/${sku}`, { token: stack.tokens.staff }),
      await stack.api.request('GET', `/v1/inventory/${sku}/movements`, { token: stack.tokens.staff }),
      await stack.api.request('POST', `/v1/inventory/${sku}/adjustments`, {
        token: stack.tokens.staff,
        body: { delta: 1, reason: 'x' },
        headers,
      }),
    ];
    for (const answer of answers) {
      // "." is a path of its own to every client: /v1/inventory/
      expect([404, 405]).toContain(answer.status);
      expectProblem(answer, answer.status);
    }
  });

  test('"summary" cannot be made: its stock could never be read', async () => {
    const answer = await stack.api.request('PUT', '/v1/inventory/summary', {
      token: stack.tokens.staff,
      body: { onHand: 1 },
    });
    expect(answer.status).toBeGreaterThanOrEqual(400);
  });
});

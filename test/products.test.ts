import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Answer, Api } from './harness/http.ts';
import { conforming } from './harness/openapi.ts';
import { expectNoFault, expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';

let stack: TestStack;
let api: Api;
beforeAll(async () => {
  stack = await startStack();
  api = await conforming(stack.api);
});
afterAll(() => stack.stop());

const list = async (query = ''): Promise<Answer> => await api.request('GET', `/v1/products${query}`);
const skus = (answer: Answer): string[] => answer.body.data.map((product: { sku: string }) => product.sku);

/** Every page of a list, by its `Link` headers. */
async function pages(query: string): Promise<Answer[]> {
  const found: Answer[] = [];
  for (let path: string | undefined = `/v1/products?${query}`; path !== undefined;) {
    const page: Answer = await api.request('GET', path);
    found.push(page);
    path = page.headers.get('link')?.match(/^<([^>]+)>; rel="next"$/)?.[1];
    expect(path === undefined).toBe(page.body.nextCursor === null);
  }
  return found;
}

describe('the catalogue', () => {
  test('has the demo products, by sku, for everybody', async () => {
    const answer = await list('?limit=100');
    expect(answer.status).toBe(200);
    expect(answer.body.nextCursor).toBeNull();
    expect(answer.headers.get('cache-control')).toMatch(/public/);
    expect(skus(answer).length).toBeGreaterThanOrEqual(12);
    expect(skus(answer)).toEqual(skus(answer).toSorted());
    const prices = new Map(
      answer.body.data.map((product: { sku: string; price: number; currency: string }) => [
        product.sku,
        [product.price, product.currency],
      ]),
    );
    expect(prices.get('LAPTOP-15')).toEqual([129900, 'USD']);
    expect(prices.get('MOUSE-WL')).toEqual([2999, 'USD']);
    expect(prices.get('KEYBOARD-MX')).toEqual([8999, 'USD']);
    expect(prices.get('CONSOLE-LE')).toEqual([49900, 'USD']);
  });

  test.each(['sku', 'name', 'price', '-price'])(
    'sorted by %s, page by page, has each product once',
    async (sort) => {
      const whole = (await list(`?limit=100&sort=${sort}`)).body.data;
      const paged = (await pages(`limit=3&sort=${sort}`)).flatMap((page) => page.body.data);
      expect(paged).toEqual(whole);
      const prices = whole.map((product: { price: number }) => product.price);
      if (sort === 'price') expect(prices).toEqual(prices.toSorted((a: number, b: number) => a - b));
      if (sort === '-price') expect(prices).toEqual(prices.toSorted((a: number, b: number) => b - a));
    },
  );

  test('of equal prices loses none between pages', async () => {
    for (const letter of ['A', 'B', 'C', 'D', 'E']) await stack.stock(`TIE-${letter}`, 1, 777);
    for (const sort of ['price', '-price']) {
      const paged = await pages(`limit=2&sort=${sort}&minPrice=777&maxPrice=777`);
      expect(paged.flatMap(skus)).toEqual(['TIE-A', 'TIE-B', 'TIE-C', 'TIE-D', 'TIE-E']);
    }
  });

  test('is searched by name, sku and description, whatever the case, and filtered', async () => {
    expect(skus(await list('?q=mechanical'))).toEqual(['KEYBOARD-MX']);
    expect(skus(await list('?q=keyboard-m'))).toEqual(['KEYBOARD-MX']);
    expect(skus(await list('?q=brown%20switches'))).toEqual(['KEYBOARD-MX']);
    expect(skus(await list('?category=gaming'))).toEqual(['CONSOLE-LE']);
    expect(skus(await list('?category=nothing'))).toEqual([]);
    expect(skus(await list('?minPrice=129900'))).toEqual(['LAPTOP-15']);
    expect(skus(await list('?maxPrice=2999&minPrice=2999'))).toEqual(['MOUSE-WL']);
    expect(skus(await list('?category=computers&maxPrice=60000'))).toEqual(['TABLET-11']);
  });

  test.each(['%', '_', String.raw`\ `, String.raw`\\`, "'", '"; drop table', '*', '.*'])(
    'takes %j as text to look for, not as a pattern',
    async (q) => {
      const answer = await list(`?limit=100&q=${encodeURIComponent(q)}`);
      expect(answer.status).toBe(200);
      const matches = answer.body.data.every((product: object) =>
        JSON.stringify(Object.values(product).join('\n')).includes(JSON.stringify(q.trim()).slice(1, -1)),
      );
      expect(matches).toBe(true);
    },
  );

  test('hides what is not sold any more, but tells of it by its sku', async () => {
    await stack.stock('RETIRED', 5);
    await stack.db
      .updateTable('catalogue.products')
      .set({ active: false })
      .where('sku', '=', 'RETIRED')
      .execute();
    expect(skus(await list('?q=RETIRED'))).toEqual([]);
    const read = await api.request('GET', '/v1/products/RETIRED');
    expect(read).toMatchObject({ status: 200, body: { sku: 'RETIRED', active: false } });
  });

  test('is not sent again while it is the same: 304, for each page and choice', async () => {
    const ask = (query: string, tag: string) =>
      api.request('GET', `/v1/products?${query}`, { headers: { 'if-none-match': tag } });
    const etagOf = async (query: string): Promise<string> => (await list(`?${query}`)).headers.get('etag')!;
    await stack.stock('SAME-A', 1);
    await stack.stock('SAME-B', 1);
    const queries = ['q=same&limit=1', 'q=same&limit=1&sort=-price', 'q=same', 'q=same&facets=true'];
    for (const query of queries) {
      const etag = await etagOf(query);
      expect(etag).toMatch(/^"[^"]+"$/);
      for (const tag of [etag, `W/${etag}`, `"1", ${etag}`, '*']) {
        const answer = await ask(query, tag);
        expect(answer, `${query} ${tag}`).toMatchObject({ status: 304, body: '' });
        expect(answer.headers.get('etag')).toBe(etag);
        expect(answer.headers.get('cache-control')).toMatch(/public/);
      }
      expect((await ask(query, '"1"')).status).toBe(200);
    }
    const known = await etagOf('q=same');
    expect(known).not.toBe(await etagOf('q=same&limit=1'));
    await stack.db
      .updateTable('catalogue.products')
      .set({ name: 'Same again' })
      .where('sku', '=', 'SAME-B')
      .execute();
    const changed = await ask('q=same', known);
    expect(changed).toMatchObject({ status: 200, body: { data: [{}, { name: 'Same again' }] } });
  });

  test('shows names as they were written, in any script', async () => {
    const name = 'שלום 😀 𠜎 é <b>"&\u202E';
    await stack.stock('SCRIPTS', 1);
    await stack.db.updateTable('catalogue.products').set({ name }).where('sku', '=', 'SCRIPTS').execute();
    expect((await api.request('GET', '/v1/products/SCRIPTS')).body.name).toBe(name);
    expect(skus(await list(`?q=${encodeURIComponent('שלום 😀')}`))).toEqual(['SCRIPTS']);
    const byName = await pages('limit=1&sort=name');
    expect(byName.flatMap(skus)).toContain('SCRIPTS');
  });
});

describe('a product', () => {
  test('is read whole', async () => {
    const { status, body, headers } = await api.request('GET', '/v1/products/MOUSE-WL');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      sku: 'MOUSE-WL',
      name: 'Wireless mouse',
      category: 'accessories',
      price: 2999,
      currency: 'USD',
      active: true,
      version: 1,
    });
    expect(headers.get('etag')).toBe('"1"');
  });

  test('that has not changed is not sent again: 304', async () => {
    const ask = (tag: string) =>
      api.request('GET', '/v1/products/LAPTOP-15', { headers: { 'if-none-match': tag } });
    for (const tag of ['"1"', 'W/"1"', '"0", "1"', '*']) {
      const answer = await ask(tag);
      expect(answer, tag).toMatchObject({ status: 304, body: '' });
      expect(answer.headers.get('etag')).toBe('"1"');
    }
    expect((await ask('"2"')).status).toBe(200);
    await stack.db
      .updateTable('catalogue.products')
      .set({ version: 2, price: 1 })
      .where('sku', '=', 'LAPTOP-15')
      .execute();
    expect(await ask('"1"')).toMatchObject({ status: 200, body: { price: 1, version: 2 } });
  });

  test.each([
    'NO-SUCH',
    'mouse-wl',
    '%00',
    'MOUSE-WL%00',
    '%F0%9F%98%80',
    '%ED%A0%80',
    '%E0%A4%A',
    '%',
    "'%20or%20'1'='1",
    '..%2F..%2Fetc%2Fpasswd',
    '__proto__',
    'constructor',
    'x'.repeat(5000),
    '-',
  ])('named %s does not exist', async (name) => {
    const answer = await stack.api.request('GET', `/v1/products/${name}`);
    expectNoFault(answer);
    expect([400, 404]).toContain(answer.status);
  });
});

describe('a bad query', () => {
  test.each([
    'limit=0',
    'limit=101',
    'limit=-1',
    'limit=1.5',
    'limit=abc',
    'limit=',
    'limit=NaN',
    'limit=Infinity',
    'limit=99999999999999999999',
    'limit=1&limit=2',
    'limit[]=1',
    'limit[a]=1',
    'sort=',
    'sort=id',
    'sort=price;drop',
    'sort=price&sort=sku',
    'sort=constructor',
    'minPrice=-1',
    'minPrice=1.5',
    'minPrice=x',
    'maxPrice=99999999999999999999',
    'maxPrice=1&maxPrice=2',
    'q=',
    'q=%00',
    'q=a%00b',
    'q=%0A',
    `q=${'x'.repeat(101)}`,
    'q=a&q=b',
    'category=%00',
    'category=a&category=b',
    'nonsense=1',
    '__proto__=1',
    '__proto__[limit]=1',
    'constructor=1',
    'toString=1',
  ])('?%s is told', async (query) => {
    expectProblem(await list(`?${query}`), 400, 'invalid_query');
  });

  const cursor = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  test.each([
    ['sku', 'x'],
    ['sku', '%00'],
    ['sku', '!!!'],
    ['sku', ''],
    ['sku', cursor(null)],
    ['sku', cursor({})],
    ['sku', cursor([])],
    ['sku', cursor(['a'])],
    ['sku', cursor(['a', 'b', 'c'])],
    ['sku', cursor([1, 'MOUSE-WL'])],
    ['sku', cursor(['\0', 'MOUSE-WL'])],
    ['sku', cursor(['a', '\0'])],
    ['name', cursor(['\0', 'MOUSE-WL'])],
    ['price', cursor(['2999', 'MOUSE-WL'])],
    ['price', cursor([1.5, 'MOUSE-WL'])],
    ['price', cursor([1e300, 'MOUSE-WL'])],
    ['price', cursor([Number.MAX_SAFE_INTEGER + 1, 'MOUSE-WL'])],
    ['-price', cursor([1.5, 'MOUSE-WL'])],
    ['-price', cursor([null, 'MOUSE-WL'])],
    ['newest', cursor(['2026-02-30T00:00:00Z', 'MOUSE-WL'])],
    ['newest', cursor(['0000-01-01T00:00:00Z', 'MOUSE-WL'])],
    ['newest', cursor([`2026-01-01T00:00:00.${'0'.repeat(160)}Z`, 'MOUSE-WL'])],
    ['newest', cursor([1, 'MOUSE-WL'])],
    ['relevance&q=mouse', cursor([1e-300, 'MOUSE-WL'])],
    ['relevance&q=mouse', cursor([1e300, 'MOUSE-WL'])],
    ['relevance&q=mouse', cursor(['1', 'MOUSE-WL'])],
    ['sku', Buffer.from('{"__proto__":1}').toString('base64url')],
    ['sku', Buffer.from('[').toString('base64url')],
  ])('sorted by %s, a cursor %s that nobody gave out is told', async (sort, bad) => {
    expectProblem(await list(`?sort=${sort}&cursor=${bad}`), 400, 'invalid_cursor');
  });

  test('a cursor of another order or another list is told', async () => {
    const byPrice = (await list('?sort=price&limit=1')).body.nextCursor;
    expectProblem(await list(`?sort=sku&cursor=${byPrice}`), 400, 'invalid_cursor');
    const { body } = await stack.api.request('GET', '/v1/inventory?limit=1', { token: stack.tokens.staff });
    expectProblem(await list(`?cursor=${body.nextCursor}`), 400, 'invalid_cursor');
  });
});

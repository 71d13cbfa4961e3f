import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listCustomers } from '../db/customers.ts';
import { listMovements, listStock } from '../db/inventory.ts';
import { listOrders, type OrderFilter, type OrderPosition } from '../db/order-lists.ts';
import { findOrder, findOrderByNumber, listOrderEvents } from '../db/orders.ts';
import { createProductLists, type ProductSort } from '../db/product-lists.ts';
import type { Db } from '../db/connect.ts';
import { dueErasures } from '../db/erasure.ts';
import { listNotifications, type NotificationFilter } from '../db/notification-lists.ts';
import { claimDue } from '../db/notifications.ts';
import * as reconciliation from '../db/reconciliation.ts';
import { readEvents } from '../db/recorded-events.ts';
import { type DeliveryFilter, listWebhookDeliveries } from '../db/webhook-deliveries.ts';
import { addPastOrders } from '../dev/past-orders.ts';
import type { Answer } from './harness/http.ts';
import { createExplainer, type Explainer } from './harness/plans.ts';
import { startStack, type TestStack } from './harness/stack.ts';

const ORDERS = 200_000;
/** Has one in a hundred orders. */
const JOHN = '550e8400-e29b-41d4-a716-446655440000';
/** Has none. */
const JANE = '550e8400-e29b-41d4-a716-446655440001';
/** One order in ten has it. */
const POPULAR = 'PAST-0';
const LONG_AGO: OrderPosition = { createdAt: new Date(Date.now() - 20 * 86_400_000), id: JOHN };

let stack: TestStack;
let explainer: Explainer;
let orderId: string;
beforeAll(async () => {
  stack = await startStack();
  const superuserUrl = new URL(stack.parts.superuserUrl);
  superuserUrl.pathname = new URL(stack.databaseUrl).pathname;
  await addPastOrders(superuserUrl.href, { from: 0, to: ORDERS, regular: JOHN });
  await fillTheRest(stack.db);
  explainer = createExplainer(stack.databaseUrl);
});
afterAll(async () => {
  await explainer.stop();
  await stack.stop();
});

/** A ledger, a timeline, a catalogue and stock, each far larger than a page; a namesake of John with few orders. */
async function fillTheRest(db: Db): Promise<void> {
  orderId = (await db.selectFrom('ordering.orders').select('id').executeTakeFirstOrThrow()).id;
  await sql`
    insert into inventory.movements (sku, type, quantity, on_hand_after, reserved_after)
    select 'PAST-' || number % 3, 'adjustment', 1, 0, 0 from generate_series(1, 60000) as number
  `.execute(db);
  await sql`
    insert into ordering.order_events (order_id, seq, type, actor)
    select ${orderId}::uuid, number, 'notification.sent', 'system' from generate_series(1, 20000) as number
  `.execute(db);
  await sql`
    insert into catalogue.products (sku, name, description, category, price, currency)
    select 'PAST-' || number, 'Product ' || number, 'rare' || abs(hashtext(number::text)) % 500 || case when number % 3 = 0 then ' common' else '' end,
      'category ' || number % 10, number % 1000, 'USD'
    from generate_series(0, 19999) as number
  `.execute(db);
  await sql`
    insert into inventory.stock (sku, on_hand, low_stock_threshold)
    select 'PAST-' || number, number % 10, 5 from generate_series(0, 19999) as number
  `.execute(db);
  await sql`
    insert into messaging.notifications
      (id, channel, recipient, template, status, customer_id, order_id, created_at, due_at, sent_xid, sent_position,
        attempts)
    select gen_random_uuid(), case number % 2 when 0 then 'email' else 'push' end, 'x', 'message',
      case number % 1000 when 0 then 'dead_letter' when 1 then 'queued' else 'sent' end,
      case number % 100 when 0 then ${JOHN}::uuid else gen_random_uuid() end, gen_random_uuid(),
      now() - make_interval(secs => number), 'infinity', '2', number,
      '[{"at": "2026-01-01T00:00:00Z"}]'
    from generate_series(1, 60000) as number
  `.execute(db);
  await sql`
    with namesake as (
      update identity.users set name = 'Johnny Few' where email = 'customer-7@example.org' returning id
    )
    update ordering.orders set status = 'rejected' from namesake where customer_id = namesake.id
  `.execute(db);
  await sql`
    update ordering.orders set updated_at = now() - interval '1 hour' + seconds * interval '3 seconds'
    from (
      select id, row_number() over () as seconds from ordering.orders where status = 'delivered' limit 1000
    ) as recent
    where orders.id = recent.id
  `.execute(db);
  await sql`update ordering.reconciliation set ended_after = now() - interval '50 minutes'`.execute(db);
  await sql`
    insert into messaging.webhook_endpoints (id, url, secret, enabled)
    select (number || '50e8400-e29b-41d4-a716-446655440000')::uuid, 'https://example.com', '', false
    from generate_series(1, 2) as number
  `.execute(db);
  await sql`
    insert into messaging.webhook_deliveries (id, endpoint_id, event_type, payload, status, tell_at)
    select gen_random_uuid(), webhook_endpoints.id, 'order.placed', '{}', 'delivered', null
    from generate_series(1, 10000), messaging.webhook_endpoints
  `.execute(db);
  for (const table of [
    'inventory.movements',
    'messaging.webhook_deliveries',
    'ordering.order_events',
    'catalogue.products',
    'inventory.stock',
    'messaging.notifications',
  ]) {
    await sql`analyze ${sql.table(table)}`.execute(db);
  }
}

/** Nothing is read but by an index, and nothing reads, sorts or drops more than so many rows. */
async function expectIndexesOnly(mostRows: number, run: (db: Db) => Promise<unknown>): Promise<void> {
  const plans = await explainer.plansOf(run);
  expect(plans.length).toBeGreaterThan(0);
  for (const plan of plans) {
    const wrong = plan.filter(
      ({ type, relation, rows }) =>
        rows > mostRows || (type === 'Seq Scan' && relation !== ONE_ROW_TABLE) || type.startsWith('Bitmap'),
    );
    expect(wrong, JSON.stringify(plan, undefined, 1)).toEqual([]);
  }
}

const ONE_ROW_TABLE = 'reconciliation';
const PAGE = { limit: 26 };
/** 1000 entries, and what EXPLAIN rounds. */
const ONE_WALK = 1100;
/** What a search finds, of each customer a page, or 101 where the other filters drop some. */
const ALL_FOUND = 6_000;

describe('a list of orders walks an index and ends, with', () => {
  const statuses = {
    'a common status': 'delivered',
    'an absent status': 'pending',
  } as const;
  const customers = { 'a customer of many orders': JOHN, 'a customer of none': JANE };
  const skus = { 'a popular sku': POPULAR, 'an unknown sku': 'NONE' };
  const searches = {
    'the start of many names': 'customer',
    'the start of many numbers': 'a',
    'the email of one': 'john.smith@example.com',
    'the start of nothing': 'zzzzz',
  };
  const either = <T>(values: Record<string, T>): [string, T | undefined][] => [
    ['', undefined],
    ...Object.entries(values),
  ];
  const filters = either(statuses).flatMap(([a, status]) =>
    either(customers).flatMap(([b, customerId]) =>
      either(skus).flatMap(([c, sku]) =>
        either(searches).map(([d, q]): [string, OrderFilter] => [
          [a, b, c, d].filter(Boolean).join(', ') || 'no filter',
          { status, customerId, sku, q },
        ]),
      ),
    ),
  );

  test.each(filters)('%s', async (_name, filter) => {
    const mostRows = filter.q !== undefined && filter.customerId === undefined ? ALL_FOUND : ONE_WALK;
    await expectIndexesOnly(mostRows, async (db) => {
      await listOrders(db, filter, PAGE);
      const createdFrom = new Date(Date.now() - 30 * 86_400_000);
      await listOrders(db, { ...filter, createdFrom }, { limit: 101, after: LONG_AGO });
    });
  });
});

describe('indexes alone, and no more rows than a page, are read for', () => {
  const reads: Record<string, (db: Db) => Promise<unknown>> = {
    'an order by its id': (db) => findOrder(db, orderId),
    'an order by its number': (db) => findOrderByNumber(db, '0ZZZZ-ZZZZZ'),
    'the timeline of an order': (db) => listOrderEvents(db, orderId, { ...PAGE, afterSeq: 0 }),
    'the end of a timeline': (db) => listOrderEvents(db, orderId, { ...PAGE, afterSeq: 19_990 }),
    'the ledger of a sku': (db) => listMovements(db, POPULAR, PAGE),
    'the beginning of a ledger': (db) => listMovements(db, POPULAR, { ...PAGE, beforeId: 100 }),
    'the ledger of a sku that never moved': (db) => listMovements(db, 'NONE', PAGE),
    stock: (db) => listStock(db, PAGE),
    'the end of the stock': (db) => listStock(db, { ...PAGE, afterSku: 'PAST-9990' }),
    'stock that is low': (db) => listStock(db, { ...PAGE, lowStock: true }),
  };
  test.each(Object.entries(reads))('%s', async (_name, read) => expectIndexesOnly(101, read));

  const deliveries: Record<string, DeliveryFilter> = {
    'all deliveries of webhooks': {},
    'those of an endpoint': { endpointId: '150e8400-e29b-41d4-a716-446655440000' },
    'those that were delivered': { status: 'delivered' },
    'those that failed': { status: 'failed' },
    'those of a type': { eventType: 'order.placed' },
    'those of an unknown type': { eventType: 'order.eaten' },
  };
  test.each(Object.entries(deliveries))('%s', async (_name, filter) => {
    await expectIndexesOnly(101, async (db) => {
      await listWebhookDeliveries(db, filter, PAGE);
      await listWebhookDeliveries(db, filter, { ...PAGE, after: { ...LONG_AGO, createdAt: new Date() } });
    });
  });

  test('the next recorded events, which are 500 at the most', async () => {
    await expectIndexesOnly(500, (db) => readEvents(db, { xid: '1', position: 1000 }));
  });

  const sorts = {
    sku: { value: 'PAST-5', sku: 'PAST-5' },
    name: { value: 'Product 5', sku: 'PAST-5' },
    price: { value: 500, sku: 'PAST-5' },
    '-price': { value: 500, sku: 'PAST-5' },
    newest: { value: '2026-01-01T00:00:00.000Z', sku: 'PAST-5' },
  };
  const orders = Object.entries(sorts) as [ProductSort, (typeof sorts)['sku']][];
  test.each(orders)('products in the order of %s', async (sort, after) => {
    // Of a category that has many products it may walk the newest of all.
    await expectIndexesOnly(sort === 'newest' ? 400 : 101, async (db) => {
      const lists = createProductLists({ db, search: db });
      for (const category of [undefined, 'category 5', 'none']) {
        await lists.list({ category }, { sort, ...PAGE });
        await lists.list({ category }, { sort, ...PAGE, after });
      }
    });
  });
});

describe('a search of products finds its words by the index, sorted by', () => {
  const FOUND = 40;
  /** A list by relevance ranks no more. */
  const RANKED = 201;
  let searcher: Explainer;
  beforeAll(() => {
    searcher = createExplainer(stack.databaseUrl, { searching: true });
  });
  afterAll(() => searcher.stop());

  test.each(['sku', 'name', 'price', '-price', 'newest', 'relevance'] as const)('%s', async (sort) => {
    const searches: [string, number][] = [
      ['rare7', 3_000],
      ['rare77 common', FOUND * 12],
      ['rare77 pro', FOUND * 12],
      ['prodcut rare77', FOUND * 12],
      ['common', RANKED * 5],
      ['product', RANKED * 2],
      ['nothing', FOUND],
    ];
    for (const [q, mostRows] of searches) {
      const plans = await searcher.plansOf((db) =>
        createProductLists({ db, search: db }).list({ q }, { sort, limit: 26 }),
      );
      for (const plan of plans) {
        const wrong = plan.filter(({ type, rows }) => rows > mostRows || type === 'Seq Scan');
        expect(wrong, `${q}: ${JSON.stringify(plan, undefined, 1)}`).toEqual([]);
      }
    }
  });
});

describe('notifications are read by an index, whatever is filtered by', () => {
  const filters: NotificationFilter[] = [
    {},
    { status: 'sent' },
    { status: 'dead_letter' },
    { channel: 'email' },
    { channel: 'sms', status: 'queued' },
    { customerId: JOHN },
    { customerId: JOHN, channel: 'push', status: 'dead_letter' },
    { customerId: JANE },
  ];
  test.each(filters)('%j', async (filter) => {
    await expectIndexesOnly(3 * ONE_WALK, async (db) => {
      await listNotifications(db, filter, PAGE);
      await listNotifications(db, filter, { ...PAGE, after: LONG_AGO });
    });
  });

  test('and the pump reads what is due by one too', async () => {
    await expectIndexesOnly(101, (db) => claimDue(db, { email: 8, sms: 8, push: 32 }));
  });
});

describe('reconciling reads a part by an index, of', () => {
  const PART = 100;
  const parts: Record<string, (db: Db) => Promise<unknown>> = {
    'live orders': (db) => reconciliation.nextLiveOrders(db, PART),
    'orders that have ended': (db) => reconciliation.nextEnded(db, 'orders', PART),
    'returns that have ended': (db) => reconciliation.nextEnded(db, 'returns', PART),
    'orders that hold stock': (db) => reconciliation.nextDeadReservations(db, PART),
    stock: (db) => reconciliation.nextStockDrifts(db, PART),
    'movements of money': (db) => reconciliation.stuckPayments(db, 60, PART),
    notifications: (db) => reconciliation.stuckNotifications(db, 60, PART),
    imports: (db) => reconciliation.stuckImports(db, 60, PART),
    'deleted customers': (db) => dueErasures(db, PART),
  };
  test.each(Object.entries(parts))('%s', async (_name, read) => expectIndexesOnly(PART * 2, read));
});

describe('pages of a list that drops most of what it walks', () => {
  const FILTERS: Record<string, OrderFilter> = {
    'a customer and a status': { customerId: JOHN, status: 'rejected' },
    'a customer and a sku': { customerId: JOHN, sku: POPULAR },
    'a sku and a status': { sku: POPULAR, status: 'rejected' },
    'a customer and its own name': { customerId: JOHN, q: 'JOHN', status: 'cancelled' },
    'a search and a status': { q: 'customer-123', status: 'rejected' },
    'a search that finds a customer of many orders and one of few, and a status': {
      q: 'john',
      status: 'rejected',
    },
    'a search that finds them, and a sku': { q: 'john', sku: 'PAST-500' },
    'a search and times': {
      q: 'customer-123',
      createdFrom: LONG_AGO.createdAt,
      createdTo: new Date(Date.now() - 86_400_000),
    },
  };
  test.each(Object.entries(FILTERS))('%s: have each order once, newest first', async (_name, filter) => {
    const listed: string[] = [];
    for (let after: OrderPosition | undefined, more = true; more;) {
      const limit = 25;
      const { orders, walkedTo } = await listOrders(stack.db, filter, { limit: limit + 1, after });
      const page = orders.slice(0, limit);
      listed.push(...page.map(({ id }) => id));
      const last = page.at(-1)!;
      after = orders.length > limit ? { createdAt: new Date(last.createdAt), id: last.id } : walkedTo;
      more = after !== undefined;
    }
    expect(listed).toEqual(await naivelyListed(stack.db, filter));
    expect(listed.length).toBeGreaterThan(0);
  });

  test('are gone through over HTTP by following the links', async () => {
    const listed: string[] = [];
    const sizes = new Set<number>();
    for (let path: string | undefined = `/v1/orders?sku=${POPULAR}&status=rejected&limit=100`; path;) {
      const { headers, body }: Answer = await stack.api.request('GET', path, { token: stack.tokens.staff });
      listed.push(...body.data.map(({ id }: { id: string }) => id));
      sizes.add(body.data.length);
      path = /<(.*)>; rel="next"/.exec(headers.get('link') ?? '')?.[1];
    }
    expect(listed).toEqual(await naivelyListed(stack.db, { sku: POPULAR, status: 'rejected' }));
    expect(Math.min(...sizes)).toBeLessThan(100);
  });
});

describe('a list of customers walks an index and ends, with', () => {
  /** Of names, last names and emails 1000 each. */
  const FOUND = 3_100;
  test.each([
    ['', undefined],
    ['the start of many names', 'customer'],
    ['the start of many emails', 'c'],
    ['the last name of one', 'smith'],
    ['the start of nothing', 'zzzzz'],
  ])('%s', async (_name, q) => {
    const after = LONG_AGO;
    await expectIndexesOnly(q === undefined ? ONE_WALK : FOUND, (db) => listCustomers(db, { ...PAGE, q }));
    await expectIndexesOnly(FOUND, (db) => listCustomers(db, { ...PAGE, q, after }));
  });
});

/** The same by the plainest SQL, whatever it costs. */
async function naivelyListed(
  db: Db,
  { status, customerId, sku, q, createdFrom, createdTo }: OrderFilter,
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select orders.id from ordering.orders left join identity.users on users.id = customer_id
    where (${status ?? null}::text is null or status = ${status ?? null})
      and (${customerId ?? null}::uuid is null or customer_id = ${customerId ?? null})
      and (${sku ?? null}::text is null or orders.id in (select order_id from ordering.order_lines where sku = ${sku ?? null}))
      and (${q ?? null}::text is null or starts_with(lower(name), lower(${q ?? null})) or starts_with(lower(email), lower(${q ?? null})))
      and orders.created_at >= ${createdFrom ?? '-infinity'}::timestamptz and orders.created_at < ${createdTo ?? 'infinity'}::timestamptz
    order by orders.created_at desc, orders.id desc
  `.execute(db);
  return rows.map(({ id }) => id);
}

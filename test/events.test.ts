import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Request, Response } from 'express';
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';
import pg from 'pg';
import { pino } from 'pino';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createEventFeed } from '../api/event-feed.ts';
import { createEventStreams } from '../api/event-streams.ts';
import type { Listener } from '../db/listener.ts';
import { markSent } from '../db/notifications.ts';
import { currentPosition } from '../db/recorded-events.ts';
import type { Order } from '../domain/order.ts';
import { type HeardStream, listenAt } from './harness/event-stream.ts';
import { type Api, orderOf } from './harness/http.ts';
import { expectProblem } from './harness/problems.ts';
import type { Process } from './harness/processes.ts';
import { JWT_SECRET, startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

let stack: TestStack;
let api: Api;
let apiProcess: Process;
let john: string;
let jane: string;
let staff: string;
const streams: HeardStream[] = [];

beforeAll(async () => {
  // How much the process grows tells what it keeps, and not how long it puts off collecting its garbage.
  const environment = { EVENTS_HEARTBEAT_SECONDS: '1', NODE_OPTIONS: '--max-old-space-size=160' };
  stack = await startStack({ api: false, environment });
  ({ api, process: apiProcess } = await stack.startApi());
  [john, jane, staff] = (await Promise.all(
    ['john.smith@example.com', 'jane.doe@example.com', 'staff@example.com'].map((email) => api.login(email)),
  )) as [string, string, string];
});
afterAll(async () => {
  for (const stream of streams) stream.close();
  await stack.stop();
});

const listen = async (token: string, query = '', headers: Record<string, string> = {}) => {
  const stream = await listenAt(`${api.url}/v1/events${query}`, token, headers);
  streams.push(stream);
  return stream;
};

const place = async (token = john): Promise<Order> => {
  const { status, body } = await api.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
  expect(status).toBe(201);
  return body;
};

const typesOf = (stream: HeardStream, { id }: Order): string[] =>
  stream.events.filter(({ orderId }) => orderId === id).map(({ type }) => type);

const hears = (stream: HeardStream, order: Order, type: string) =>
  eventually(`${type} of ${order.number} is heard`, () => typesOf(stream, order).includes(type));

/** Adds events to an order as a step does, over a connection of the test's own. */
const addEvent = (on: pg.Client, { id }: Order, seq: number, type: string) =>
  on.query(`insert into ordering.order_events (order_id, seq, type, actor) values ($1, $2, $3, 'test')`, [
    id,
    seq,
    type,
  ]);

/** A listener that Postgres tells nothing. */
const deaf: Listener = {
  on: () => undefined,
  onConnected: () => undefined,
  ping: () => Promise.resolve(true),
  close: () => Promise.resolve(),
};

describe('GET /v1/events', () => {
  test('tells what happens to orders, from now on, as a stream that proxies leave alone', async () => {
    const earlier = await listen(staff);
    const before = await place();
    await hears(earlier, before, 'order.confirmed');
    const stream = await listen(staff);
    expect(stream.status).toBe(200);
    expect(stream.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'x-request-id': expect.stringMatching(/./),
    });
    const order = await place();
    await hears(stream, order, 'notification.sent');
    expect(typesOf(stream, order).slice(0, 4)).toEqual([
      'order.placed',
      'stock.reserved',
      'payment.authorized',
      'order.confirmed',
    ]);
    expect(stream.events.find(({ orderId }) => orderId === order.id)).toEqual({
      id: expect.stringMatching(/./),
      orderId: order.id,
      orderNumber: order.number,
      customerId: order.customerId,
      seq: 1,
      type: 'order.placed',
      at: expect.stringMatching(/Z$/),
      actor: `customer:${order.customerId}`,
      data: { total: order.total, currency: 'USD' },
    });
    expect(typesOf(stream, before)).not.toContain('order.placed');
  });

  test('a customer hears of its own orders only, and may ask for single types or one order', async () => {
    const all = await listen(staff);
    const hers = await listen(jane);
    const confirmations = await listen(john, '?types=order.confirmed,payment.*');
    const johns = await place(john);
    const janes = await place(jane);
    await hears(all, janes, 'order.confirmed');
    await hears(hers, janes, 'order.confirmed');
    await hears(confirmations, johns, 'order.confirmed');
    expect(new Set(hers.events.map(({ orderId }) => orderId))).toEqual(new Set([janes.id]));
    expect(typesOf(confirmations, johns)).toEqual(['payment.authorized', 'order.confirmed']);

    const one = await listen(john, `?orderId=${johns.id}`);
    const another = await place(john);
    await api.request('POST', `/v1/orders/${johns.id}/cancel`, { token: john });
    await hears(one, johns, 'order.cancelled');
    expect(typesOf(one, another)).toEqual([]);
  });

  test('resumes behind the last event without a gap, also over another API process', async () => {
    const first = await listen(staff);
    await place();
    const heard = await first.until(2);
    first.close();
    const missed = await place();
    const other = await stack.startApi({ EVENTS_HEARTBEAT_SECONDS: '1' });
    for (const { url } of [api, other.api]) {
      const resumed = await listenAt(`${url}/v1/events`, staff, { 'last-event-id': heard[0]!.id });
      streams.push(resumed);
      await hears(resumed, missed, 'order.confirmed');
      expect(resumed.events[0]).toEqual(heard[1]);
    }
    const live = await place();
    for (const stream of streams.slice(-2)) {
      await hears(stream, live, 'order.confirmed');
      const ids = stream.events.map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
    }
    await other.process.stop();
  });

  test('resumes from the start of a stream that heard nothing', async () => {
    const first = await listen(staff);
    const start = await eventually('an id is there', () => first.lastId());
    first.close();
    const missed = await place();
    const resumed = await listen(staff, '', { 'last-event-id': start });
    await hears(resumed, missed, 'order.confirmed');
    expect(typesOf(resumed, missed)[0]).toBe('order.placed');
  });

  test('a customer hears a message that is about no order, staff of all of them, and nobody else', async () => {
    const [his, hers, all] = [await listen(john), await listen(jane), await listen(staff)];
    const messagesOf = ({ events }: HeardStream) => events.filter(({ orderId }) => orderId === undefined);
    const untilMessage = (number: number) =>
      eventually(`message ${number} is heard`, () => messagesOf(his)[number - 1]);
    const send = async (channel: string, recipient: string, text: string): Promise<string> => {
      const variables = { subject: 'A word', text };
      const body = { channel, recipient, template: 'message', variables };
      return (await api.request('POST', '/v1/notifications', { token: staff, body })).body.id;
    };
    const push = await send('push', decodeJwt(john).sub!, 'We are open.');
    const pushed = await untilMessage(1);
    expect(pushed).toEqual({
      id: expect.stringMatching(/^\d+-\d+$/),
      type: 'notification.sent',
      customerId: decodeJwt(john).sub,
      at: expect.stringMatching(/Z$/),
      actor: 'system',
      data: {
        notificationId: push,
        channel: 'push',
        template: 'message',
        title: 'A word',
        body: 'We are open.',
      },
    });
    // A mail is told without its words; to an address of nobody it is no event.
    const mails = [];
    for (const recipient of ['guest@example.com', 'john.smith@example.com']) {
      mails.push(await send('email', recipient, 'By mail.'));
    }
    const mailed = await untilMessage(2);
    expect(mailed.data).toEqual({ notificationId: mails[1], channel: 'email', template: 'message' });

    const order = await place(john);
    await hears(his, order, 'order.confirmed');
    const resumed = await listen(john, '', { 'last-event-id': pushed.id });
    await hears(resumed, order, 'order.confirmed');
    expect(messagesOf(resumed)).toEqual([mailed]);
    await hears(all, order, 'order.confirmed');
    expect(messagesOf(all)).toEqual([pushed, mailed]);
    expect(messagesOf(hers)).toEqual([]);
  });

  test('skips no event when transactions commit in another order than they began', async () => {
    const [one, other] = [await place(), await place()];
    const stream = await listen(staff, '?types=test.*');
    const clients = [0, 1, 2].map(() => new pg.Client({ connectionString: stack.databaseUrl }));
    await Promise.all(clients.map((client) => client.connect()));
    const [early, late, third] = clients as [pg.Client, pg.Client, pg.Client];
    await early.query('begin');
    await late.query('begin');
    await addEvent(early, one, 900, 'test.early_first');
    await addEvent(late, other, 900, 'test.late');
    await late.query('commit');
    await addEvent(third, other, 901, 'test.third');
    // The stream reads, because something happened; what it must not do is to go past the open transaction.
    const comments = stream.comments();
    await eventually('the stream has had time to look', () => stream.comments() >= comments + 2);
    await addEvent(early, one, 901, 'test.early_second');
    await early.query('commit');
    const heard = await stream.until(4);
    expect(heard.map(({ type }) => type)).toEqual([
      'test.early_first',
      'test.early_second',
      'test.late',
      'test.third',
    ]);

    for (const [index, { id }] of heard.entries()) {
      const resumed = await listen(staff, '?types=test.*', { 'last-event-id': id });
      await resumed.until(3 - index);
      expect(resumed.events).toEqual(heard.slice(index + 1));
    }
    await Promise.all(clients.map((client) => client.end()));
  });

  test('tells what happens to one order in its order, also where writing down a message takes long', async () => {
    const stream = await listen(staff);
    const order = await place();
    await eventually('its messages are sent', () => typesOf(stream, order).length === 6);
    const [slow, quick] = [randomUUID(), randomUUID()];
    const message = {
      channel: 'email',
      recipient: 'x@example.com',
      template: 'message',
      language: 'en',
    } as const;
    await stack.db
      .insertInto('messaging.notifications')
      .values(
        [slow, quick].map((id) => ({
          ...message,
          id,
          order_id: order.id,
          variables: '{}',
          attempts: '[]',
          due_at: null,
        })),
      )
      .execute();
    const write = (id: string) =>
      markSent(stack.db, id, { subject: 'Hello', text: 'There.', html: null, version: '1' });
    const waiting = async () => {
      const { rows } = await sql`
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%template_version%'
      `.execute(stack.db);
      return rows.length;
    };
    const blocker = new pg.Client({ connectionString: stack.databaseUrl });
    await blocker.connect();
    await blocker.query('begin');
    await blocker.query('select from messaging.notifications where id = $1 for update', [slow]);
    const first = write(slow);
    await eventually('the first waits', async () => (await waiting()) === 1);
    let written = false;
    const second = write(quick).then(() => (written = true));
    await eventually('the second is written or waits', async () => written || (await waiting()) === 2);
    await blocker.query('commit');
    await Promise.all([first, second]);
    await blocker.end();
    await eventually('both are heard', () => typesOf(stream, order).length === 8);
    const heard = stream.events.filter(({ orderId }) => orderId === order.id).map(({ seq }) => seq);
    expect(heard).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test('refuses what it cannot do', async () => {
    const order = await place(john);
    const ask = (path: string, token?: string, headers = {}) =>
      api.request('GET', `/v1/events${path}`, { token, headers });
    expectProblem(await ask(''), 401, 'unauthenticated');
    for (const id of ['', 'x', '1', '1-', '-1-1', '1-1-1', '99999999999999999999-1', '9'.repeat(500), '🦉']) {
      const answer = await ask('', staff, { 'last-event-id': Buffer.from(id).toString('latin1') });
      expectProblem(answer, 400, 'invalid_cursor');
    }
    for (const query of ['?types=', '?types=Order', '?types=*.placed', '?orderId=1', '?what=1']) {
      expectProblem(await ask(query, staff), 400, 'invalid_query');
    }
    expectProblem(await ask(`?orderId=${order.id}`, jane), 404, 'not_found');
    expectProblem(await ask(`?orderId=${randomUUID()}`, staff), 404, 'not_found');
    expectProblem(await api.request('POST', '/v1/events', { token: staff }), 405, 'method_not_allowed');
    const head = await api.request('HEAD', '/v1/events', { token: staff });
    expect(head.status).toBe(200);
    expect(head.headers.get('content-type')).toBe('text/event-stream');
  });

  test('one caller may have twenty streams, and gets a place back with each it closes', async () => {
    const more = await Promise.all(Array.from({ length: 20 }, () => listen(jane)));
    const refused = more.filter(({ status }) => status !== 200);
    // Other tests of this file have streams of hers open.
    for (const stream of refused) expect(stream.status).toBe(429);
    const answer = await api.request('GET', '/v1/events', { token: jane });
    expectProblem(answer, 429, 'rate_limited');
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    for (const stream of more) stream.close();
    await eventually('there is room again', async () => (await listen(jane)).status === 200);
  });

  test('ends when its token does, and says something until then', async () => {
    const stream = await listen(await shortLived(john, 3));
    await eventually('a heartbeat', () => stream.comments() >= 2);
    await eventually('the end', () => stream.ended());
    expect(stream.status).toBe(200);
  });

  test('an API key listens for as long as it is not revoked', async () => {
    const token = await api.login('admin@example.com');
    const { body } = await api.request('POST', '/v1/api-keys', {
      token,
      body: { name: 'Gateway', role: 'staff' },
    });
    const stream = await listen(body.key);
    await eventually('heartbeats', () => stream.comments() >= 4);
    const order = await place();
    await hears(stream, order, 'order.confirmed');
    expect(stream.ended()).toBe(false);
    await api.request('DELETE', `/v1/api-keys/${body.id}`, { token });
    await eventually('the end', () => stream.ended());
  });

  test('a thousand listeners with nothing to hear cost less than 100 MB, and hear what comes', async () => {
    await listen(staff);
    const before = residentMb();
    const listeners = await Promise.all(
      Array.from({ length: 1000 }, () => listen(staff, '?types=order.placed')),
    );
    expect(new Set(listeners.map(({ status }) => status))).toEqual(new Set([200]));
    await eventually('each has had a heartbeat', () => listeners.every((one) => one.comments() >= 2));
    const cost = residentMb() - before;
    console.log(`1,000 idle listeners: ${cost.toFixed(0)} MB`);
    expect(cost).toBeLessThan(100);
    const order = await place();
    await Promise.all(listeners.map((one) => hears(one, order, 'order.placed')));
    for (const one of listeners) one.close();
  });

  test('who takes nothing is not buffered for, keeps nobody waiting, and gets it all later', async () => {
    const order = await place();
    const slow = await listen(staff, '?types=load.*');
    const quick = await listen(staff, '?types=load.*');
    slow.pause();
    const before = residentMb();
    const COUNT = 12_000;
    await sql`
      insert into ordering.order_events (order_id, seq, type, actor, data)
      select ${order.id}::uuid, 1000 + number, 'load.test', 'test', jsonb_build_object('filling', repeat('x', 1000))
      from generate_series(1, ${COUNT}::int) as number
    `.execute(stack.db);
    await quick.until(COUNT, 100);
    expect(slow.events.length).toBeLessThan(COUNT / 2);
    expect(residentMb() - before).toBeLessThan(150);
    slow.resume();
    await slow.until(COUNT, 100);
    for (const { events } of [slow, quick]) {
      expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: COUNT }, (_, index) => 1001 + index));
    }
  }, 240_000);

  test('tells nobody twice what was being read for a listener that left meanwhile', async () => {
    const order = await place();
    const after = await currentPosition(stack.db);
    let answer: (() => void) | undefined;
    /** Reads as ever, but the first answer that has the second event is held back until `answer`. */
    const db = stack.db.withPlugin({
      transformQuery: ({ node }) => node,
      async transformResult({ result }) {
        const isMeant = result.rows.some((row) => row.type === 'feed.test' && row.seq === 802);
        if (isMeant && !answer) await new Promise<void>((resolve) => (answer = resolve));
        return result;
      },
    });
    let look: () => void = () => undefined;
    const listener: Listener = { ...deaf, on: (_channel, hear) => (look = () => hear('')) };
    const feed = createEventFeed(db, listener, pino({ level: 'silent' }));
    const hear = () => {
      const heard: number[] = [];
      const take = ({ type, seq }: { type: string; seq?: number }): boolean => {
        if (type === 'feed.test') heard.push(seq!);
        return true;
      };
      return { heard, ...feed.subscribe({ take, end: () => undefined }, after) };
    };
    const record = async (seq: number): Promise<void> => {
      await sql`
        insert into ordering.order_events (order_id, seq, type, actor) values (${order.id}, ${seq}, 'feed.test', 'test')
      `.execute(stack.db);
      look();
    };

    const leaving = hear();
    await record(801);
    await eventually('the first is live', () => leaving.heard.length === 1);
    await record(802);
    await eventually('an answer is held back', () => answer);
    leaving.leave();
    const staying = hear();
    await eventually('the second is live', () => staying.heard.length === 2);
    answer!();
    await record(803);
    await eventually('what comes now is heard', () => staying.heard.includes(803));
    feed.close();
    expect(staying.heard).toEqual([801, 802, 803]);
  });

  test('who may hear no more, and takes nothing, ends after what waits for it, and harms nobody', async () => {
    const order = await place();
    let look: () => void = () => undefined;
    const listener: Listener = { ...deaf, on: (_channel, hear) => (look = () => hear('')) };
    const feed = createEventFeed(stack.db, listener, pino({ level: 'silent' }));
    const all = createEventStreams(feed, 200);
    const after = await currentPosition(stack.db);
    let allowed = true;
    let response: ServerResponse | undefined;
    const errors: Error[] = [];
    const server = createServer((asked, answered) => {
      const isSlow = asked.url === '/slow';
      if (isSlow) response = answered.on('error', (error) => errors.push(error));
      all.open(asked as Request, answered as Response, {
        caller: { id: 'test', role: 'staff' },
        after,
        wants: () => true,
        isAllowed: () => Promise.resolve(allowed || !isSlow),
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const slow = await listenAt(`http://127.0.0.1:${port}/slow`, staff);
    const quick = await listenAt(`http://127.0.0.1:${port}/quick`, staff);
    slow.pause();
    let seq = 5_000;
    const record = async (): Promise<void> => {
      await sql`
        insert into ordering.order_events (order_id, seq, type, actor, data)
        select ${order.id}::uuid, ${seq}::int + number, 'wait.test', 'test', jsonb_build_object('filling', repeat('x', 10000))
        from generate_series(1, 100) as number
      `.execute(stack.db);
      seq += 100;
      look();
      await eventually('who takes it hears it', () => quick.events.some((event) => event.seq === seq));
    };
    while (response!.writableLength === 0) await record();
    const told = seq - 5_000;
    allowed = false;
    await eventually('it is told to end', () => response!.writableEnded);
    await record();
    const comments = quick.comments();
    await eventually('there were heartbeats', () => quick.comments() >= comments + 2);
    slow.resume();
    await eventually('it has ended', () => slow.ended());
    expect(slow.events.filter(({ type }) => type === 'wait.test')).toHaveLength(told);
    expect(errors).toEqual([]);
    all.close();
    server.close();
  });

  test('ends the streams when the process stops, so that it can', async () => {
    const { api: leaving, process } = await stack.startApi({ LOG_LEVEL: 'info' });
    const stream = await listenAt(`${leaving.url}/v1/events`, staff);
    expect(await process.stop()).toBe(0);
    expect(stream.ended()).toBe(true);
    expect(process.log()).toContain('The API has stopped');
  });
});

/** A token as the API made it, but for its end. */
const shortLived = (token: string, seconds: number): Promise<string> =>
  new SignJWT(decodeJwt(token))
    .setProtectedHeader({ alg: 'HS256', ...decodeProtectedHeader(token) })
    .setExpirationTime(`${seconds}s`)
    .sign(createHash('sha256').update(JWT_SECRET).digest());

/** What the API process holds in memory. */
const residentMb = (): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${apiProcess.pid}/status`, 'utf8'))![1]) / 1024;

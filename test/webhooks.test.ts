import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWebhookEndpoint } from '../db/webhook-endpoints.ts';
import { fanOut } from '../db/webhook-fanout.ts';
import { expectProblem } from './harness/problems.ts';
import { isSignedWith } from './harness/receiver.ts';
import { eventually } from './harness/wait.ts';
import { ANSWER_WITHIN_SECONDS, type Endpoint, WebhookPlatform } from './harness/webhooks.ts';

/** The type of the record that every TLS connection begins with (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 22;

let platform: WebhookPlatform;
beforeAll(async () => {
  platform = await WebhookPlatform.start();
});
afterAll(() => platform.stop());

describe('webhooks', () => {
  test('tell what happens to orders, signed, and soon', async () => {
    const all = await platform.addEndpoint();
    const some = await platform.addEndpoint({
      eventTypes: ['order.confirmed', 'payment.*'],
      description: 'Some',
    });
    const order = await platform.place();
    const placedAt = Date.now();
    await eventually('all is delivered', () => platform.arrivals(all, order).length >= 6);
    const types = (endpoint: Endpoint) =>
      platform
        .arrivals(endpoint, order)
        .toSorted((one, other) => one.body.data.seq - other.body.data.seq)
        .map(({ body }) => body.type);
    expect(types(all)).toEqual([
      'order.placed',
      'stock.reserved',
      'payment.authorized',
      'order.confirmed',
      'notification.sent',
      'notification.sent',
    ]);
    await eventually('some is delivered', () => platform.arrivals(some, order).length >= 2);
    expect(types(some)).toEqual(['payment.authorized', 'order.confirmed']);
    const confirmed = platform.arrivals(some, order).find(({ body }) => body.type === 'order.confirmed')!;
    expect(confirmed.at - placedAt).toBeLessThan(ANSWER_WITHIN_SECONDS * 1000);

    expect(confirmed.body).toEqual({
      type: 'order.confirmed',
      timestamp: expect.stringMatching(/Z$/),
      data: {
        orderId: order.id,
        orderNumber: order.number,
        customerId: order.customerId,
        seq: 4,
        actor: 'system',
        data: {},
      },
    });
    expect(isSignedWith(some.secret, confirmed)).toBe(true);
    expect(isSignedWith(all.secret, confirmed)).toBe(false);
    expect(some.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);

    const { id } = await platform.untilStatus(String(confirmed.headers['webhook-id']), 'delivered');
    expect(await platform.deliveryOf(id)).toMatchObject({
      endpointId: some.id,
      eventType: 'order.confirmed',
      orderId: order.id,
      payload: confirmed.body,
      attempts: [{ at: expect.any(String), status: 200, durationMs: expect.any(Number) }],
      nextAttemptAt: null,
    });
    const run = await platform.stack.temporal.workflow.getHandle(`webhook-${id}`).describe();
    expect(await run.staticSummary()).toMatch(/^order\.confirmed to 127\.0\.0\.1:\d+$/);
    for (const endpoint of [all, some]) await platform.removeEndpoint(endpoint);
  });

  test('tell of a message that is about no order, once, also where nothing else happens', async () => {
    const endpoint = await platform.addEndpoint({ eventTypes: ['notification.*'] });
    const customerId = '550e8400-e29b-41d4-a716-446655440000';
    const { body: push } = await platform.ask('POST', 'notifications', {
      channel: 'push',
      recipient: customerId,
      template: 'message',
      variables: { subject: 'A word', text: 'We are open.' },
    });
    const [received] = await eventually('it is told', () => {
      const all = platform.receiver.received(endpoint.path);
      return all.length > 0 && all;
    });
    expect(received!.body).toEqual({
      type: 'notification.sent',
      timestamp: expect.stringMatching(/Z$/),
      data: {
        customerId,
        actor: 'system',
        data: {
          notificationId: push.id,
          channel: 'push',
          template: 'message',
          title: 'A word',
          body: 'We are open.',
        },
      },
    });
    const id = String(received!.headers['webhook-id']);
    expect(await platform.untilStatus(id, 'delivered')).toMatchObject({ orderId: null });

    // The cursor may be set back, by a restored dump: what was told is not told again.
    await sql`update messaging.webhook_cursor set xid = '1', position = 0`.execute(platform.stack.db);
    const order = await platform.place();
    await eventually('what follows is told', () => platform.arrivals(endpoint, order).length >= 2);
    const about = platform.receiver.received(endpoint.path).filter(({ body }) => !body.data.orderId);
    expect(about).toHaveLength(1);
    await platform.removeEndpoint(endpoint);
  });

  test('are tried again under the same id until they are taken, or given up after the last retry', async () => {
    const endpoint = await platform.addQuietEndpoint();
    platform.receiver.respond(endpoint.path, (_received, response, earlier) =>
      response.writeHead(earlier < 2 ? 500 : 204).end(),
    );
    const { id } = await platform.sendTest(endpoint);
    const delivered = await platform.untilStatus(id, 'delivered');
    expect(delivered.attempts.map(({ status }) => status)).toEqual([500, 500, 204]);
    const received = platform.receiver.received(endpoint.path);
    expect(new Set(received.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([id]));
    expect(new Set(received.map(({ raw }) => raw)).size).toBe(1);
    expect(received.every((one) => isSignedWith(endpoint.secret, one))).toBe(true);
    const [first, second, third] = received.map(({ at }) => at) as [number, number, number];
    expect(second - first).toBeGreaterThanOrEqual(180);
    expect(third - second).toBeGreaterThanOrEqual(280);

    platform.receiver.respond(endpoint.path, (_received, response) => response.writeHead(500).end());
    const lost = await platform.untilStatus((await platform.sendTest(endpoint)).id, 'failed');
    expect(lost.attempts.map(({ status }) => status)).toEqual([500, 500, 500, 500]);
    // Here an endpoint is disabled as soon as one delivery to it is given up.
    expect((await platform.ask('GET', `webhook-endpoints/${endpoint.id}`)).body).toMatchObject({
      enabled: false,
      disabledReason: 'failing',
    });
    await eventually('the log tells', () =>
      platform.process.log().includes('A webhook endpoint was disabled'),
    );
  });

  test('can be replayed: failed ones, delivered ones, and those that wait for a retry', async () => {
    const endpoint = await platform.addQuietEndpoint();
    platform.receiver.respond(endpoint.path, (_received, response, earlier) =>
      earlier === 0
        ? response.writeHead(503, { 'retry-after': '3600' }).end()
        : response.writeHead(200).end(),
    );
    const { id } = await platform.sendTest(endpoint);
    const waiting = await eventually('it waits for an hour', async () => {
      const delivery = await platform.deliveryOf(id);
      return delivery.nextAttemptAt !== null && delivery;
    });
    expect(Date.parse(waiting.nextAttemptAt!) - Date.now()).toBeGreaterThan(3_500_000);
    const key = { 'idempotency-key': randomUUID() };
    for (const replayed of [null, 'true']) {
      const answer = await platform.ask('POST', `webhook-deliveries/${id}/replay`, {}, key);
      expect(answer.status).toBe(202);
      expect(answer.headers.get('idempotent-replayed')).toBe(replayed);
    }
    await platform.untilStatus(id, 'delivered');
    expect((await platform.ask('POST', `webhook-deliveries/${id}/replay`)).body).toMatchObject({
      status: 'pending',
    });
    const again = await platform.untilStatus(id, 'delivered');
    expect(again.attempts.map(({ status }) => status)).toEqual([503, 200, 200]);

    await platform.ask('PATCH', `webhook-endpoints/${endpoint.id}`, { enabled: false });
    expectProblem(await platform.ask('POST', `webhook-deliveries/${id}/replay`), 409, 'endpoint_disabled');
    const repeated = await platform.ask('POST', `webhook-deliveries/${id}/replay`, {}, key);
    expect(repeated).toMatchObject({ status: 202, body: { status: 'delivered' } });
    expect(repeated.headers.get('idempotent-replayed')).toBe('true');
    expectProblem(
      await platform.ask('POST', `webhook-endpoints/${endpoint.id}/test`),
      409,
      'endpoint_disabled',
    );
  });

  test('go on in a new workflow where theirs was lost', async () => {
    const endpoint = await platform.addQuietEndpoint();
    platform.receiver.respond(endpoint.path, (_received, response, earlier) =>
      response.writeHead(earlier === 0 ? 429 : 200, { 'retry-after': '3600' }).end(),
    );
    const { id } = await platform.sendTest(endpoint);
    await eventually('it waits', async () => (await platform.deliveryOf(id)).nextAttemptAt);
    await platform.stack.temporal.workflow.getHandle(`webhook-${id}`).terminate('by a test');
    const overdue = await platform.stack.db
      .updateTable('messaging.webhook_deliveries')
      .set({ tell_at: sql<Date>`now()` })
      .where('id', '=', id)
      .where('tell_at', '>', sql<Date>`now() + interval '1 hour'`)
      .executeTakeFirst();
    expect(overdue.numUpdatedRows).toBe(1n);
    expect((await platform.untilStatus(id, 'delivered')).attempts).toHaveLength(2);
  });

  test('wait for as long as Retry-After says', async () => {
    const endpoint = await platform.addQuietEndpoint();
    platform.receiver.respond(endpoint.path, (_received, response, earlier) =>
      earlier < 2
        ? response.writeHead([429, 502][earlier]!, { 'retry-after': '2' }).end('slow down')
        : response.writeHead(200).end('x'.repeat(1_000_000)),
    );
    await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    const times = platform.receiver.received(endpoint.path).map(({ at }) => at);
    expect(times).toHaveLength(3);
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(1_900);
    expect(times[2]! - times[1]!).toBeGreaterThanOrEqual(1_900);
  });

  test('410 disables the endpoint, which can be enabled again', async () => {
    const endpoint = await platform.addQuietEndpoint();
    platform.receiver.respond(endpoint.path, (_received, response) => response.writeHead(410).end());
    const key = { 'idempotency-key': 'gone' };
    const sendTest = () => platform.ask('POST', `webhook-endpoints/${endpoint.id}/test`, {}, key);
    const { id } = (await sendTest()).body;
    expect((await platform.untilStatus(id, 'failed')).attempts).toHaveLength(1);
    expect(await sendTest()).toMatchObject({ status: 202, body: { id, status: 'failed' } });
    const { body } = await platform.ask('GET', `webhook-endpoints/${endpoint.id}`);
    expect(body).toMatchObject({ enabled: false, disabledReason: 'gone' });
    const enabled = await platform.ask('PATCH', `webhook-endpoints/${endpoint.id}`, { enabled: true });
    expect(enabled.body).toMatchObject({ enabled: true, disabledReason: null });
    platform.receiver.respond(endpoint.path, (_received, response) => response.end());
    await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
  });

  test('follow no redirect', async () => {
    const [from, to] = [await platform.addQuietEndpoint(), await platform.addQuietEndpoint()];
    platform.receiver.respond(from.path, (_received, response) =>
      response.writeHead(307, { location: platform.receiver.url(to.path) }).end(),
    );
    const { attempts } = await platform.untilStatus((await platform.sendTest(from)).id, 'failed');
    expect(attempts[0]).toMatchObject({ status: 307, error: 'Redirects are not followed' });
    expect(platform.receiver.received(to.path)).toEqual([]);
  });

  test('go over TLS however the URL writes https', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { id } = await platform.addQuietEndpoint();
    const url = `HTTPS://127.0.0.1:${port}/`;
    expect(await platform.ask('PATCH', `webhook-endpoints/${id}`, { url })).toMatchObject({ body: { url } });
    const [called] = await Promise.all([once(server, 'connection'), platform.sendTest({ id })]);
    const socket = called[0] as Socket;
    const [hello] = (await once(socket, 'data')) as [Buffer];
    expect(hello[0]).toBe(TLS_HANDSHAKE);
    socket.destroy();
    server.close();
    await platform.removeEndpoint({ id });
  });

  test('are tried again where the endpoint wants to speak another protocol', async () => {
    const endpoint = await platform.addQuietEndpoint();
    const upgrade = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n';
    platform.receiver.respond(endpoint.path, (_received, response, earlier) =>
      earlier === 0 ? response.socket!.end(upgrade) : response.end(),
    );
    const { attempts } = await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    expect(attempts.map(({ status }) => status)).toEqual([101, 200]);
  });

  const unfinished: [string, (response: ServerResponse) => void][] = [
    ['hangs', (response) => response.write('o')],
    ['is cut off', (response) => response.write('o', () => response.destroy())],
  ];
  test.each(unfinished)('are taken by a 200 whose body %s, and not sent again', async (_name, answer) => {
    const endpoint = await platform.addQuietEndpoint();
    platform.receiver.respond(endpoint.path, (_received, response) =>
      answer(response.writeHead(200, { 'content-length': '2' })),
    );
    const { attempts } = await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    expect(attempts.map(({ status, error }) => ({ status, error }))).toEqual([{ status: 200 }]);
  });

  test('endpoints that hang, or are not there, keep nobody else waiting', async () => {
    const hanging = await Promise.all(Array.from({ length: 10 }, () => platform.addQuietEndpoint()));
    for (const { path } of hanging) platform.receiver.respond(path, () => undefined);
    const stuck = await Promise.all(
      hanging.flatMap((endpoint) => Array.from({ length: 8 }, () => platform.sendTest(endpoint))),
    );
    await eventually('they hang', () =>
      hanging.every(({ path }) => platform.receiver.received(path).length >= 4),
    );
    const quick = await platform.addEndpoint({ eventTypes: ['order.*'] });
    const began = Date.now();
    const order = await platform.place();
    await eventually('the quick one hears', () => platform.arrivals(quick, order).length === 2);
    expect(Date.now() - began).toBeLessThan(ANSWER_WITHIN_SECONDS * 1000);
    await platform.removeEndpoint(quick);
    // Four, and those that the receiver has not yet seen to be given up.
    for (const { path } of hanging) expect(platform.receiver.mostAtOnce(path)).toBeLessThanOrEqual(6);
    for (const { path } of hanging) platform.receiver.respond(path, (_received, response) => response.end());
    for (const { id } of stuck) await platform.untilStatus(id, 'delivered');
    const errors = (await Promise.all(stuck.map(({ id }) => platform.deliveryOf(id)))).flatMap(
      ({ attempts }) => attempts.flatMap(({ error }) => error ?? []),
    );
    expect(new Set(errors)).toEqual(new Set([`No answer within ${ANSWER_WITHIN_SECONDS} s`]));

    const { body } = await platform.ask('POST', 'webhook-endpoints', {
      url: 'http://127.0.0.1:1024/',
      eventTypes: ['webhook.*'],
    });
    const refused = await platform.untilStatus((await platform.sendTest(body)).id, 'failed');
    expect(refused.attempts[0]).toMatchObject({ error: 'No connection (ECONNREFUSED)' });
  });

  test('to a busy endpoint wait in line without asking, and are called one after the other', async () => {
    const { db, temporal } = platform.stack;
    const endpoint = await platform.addQuietEndpoint();
    const held: ServerResponse[] = [];
    platform.receiver.respond(endpoint.path, (_received, response) => held.push(response));
    const sent = await Promise.all(Array.from({ length: 20 }, () => platform.sendTest(endpoint)));
    const inLine = await eventually('all others are in line', async () => {
      const rows = await db
        .selectFrom('messaging.webhook_deliveries')
        .select('id')
        .where('endpoint_id', '=', endpoint.id)
        .where('in_line', '=', true)
        .execute();
      return held.length === 4 && rows.length === 16 && rows;
    });
    platform.receiver.respond(endpoint.path, (_received, response) => response.end());
    const { id: last } = inLine.at(-1)!;
    const timer = await eventually('it waits', async () => {
      const { events } = await temporal.workflow.getHandle(`webhook-${last}`).fetchHistory();
      return events!.find(({ timerStartedEventAttributes: started }) => started)?.timerStartedEventAttributes;
    });
    expect(Number(timer.startToFireTimeout!.seconds)).toBe(3600);
    for (const response of held) response.end();
    for (const { id } of sent) await platform.untilStatus(id, 'delivered');
  });

  test('in line for an endpoint that is disabled are given up at once', async () => {
    const endpoint = await platform.addQuietEndpoint();
    const held: ServerResponse[] = [];
    platform.receiver.respond(endpoint.path, (_received, response) => held.push(response));
    const sent = await Promise.all(Array.from({ length: 12 }, () => platform.sendTest(endpoint)));
    await eventually('it is busy', () => held.length === 4);
    for (const response of held) response.writeHead(410).end();
    for (const { id } of sent) await platform.untilStatus(id, 'failed');
    expect((await platform.ask('GET', `webhook-endpoints/${endpoint.id}`)).body.enabled).toBe(false);
  });

  test('what was recorded before a crash is delivered after it, once', async () => {
    const endpoint = await platform.addEndpoint({ eventTypes: ['order.confirmed'] });
    await platform.process.kill();
    // Nobody makes deliveries of these events, as if the process had died between the two.
    const order = await platform.stack.db
      .selectFrom('ordering.orders')
      .select('id')
      .orderBy('created_at')
      .executeTakeFirstOrThrow();
    await sql`
      insert into ordering.order_events (order_id, seq, type, actor)
      select ${order.id}::uuid, 500 + number, 'order.confirmed', 'test' from generate_series(1, 20) as number
    `.execute(platform.stack.db);
    const [{ process: other }] = await Promise.all([platform.stack.startApi(), platform.startApi()]);
    const seqs = () => platform.receiver.received(endpoint.path).map(({ body }) => body.data.seq as number);
    await eventually('all are delivered', () => new Set(seqs()).size === 20, 40);
    const { body } = await platform.ask('GET', `webhook-deliveries?endpointId=${endpoint.id}&limit=100`);
    expect(body.data).toHaveLength(20);

    // A process that dies with deliveries claimed, or told and not noted, has them told again by another.
    await sql`
      update messaging.webhook_deliveries set tell_at = now() + interval '2 seconds'
      where endpoint_id = ${endpoint.id}::uuid
    `.execute(platform.stack.db);
    await other.kill();
    await eventually('all are told', async () => {
      const untold = await platform.stack.db
        .selectFrom('messaging.webhook_deliveries')
        .select('id')
        .where('endpoint_id', '=', endpoint.id)
        .where('tell_at', '<', sql<Date>`now() + interval '1 minute'`)
        .execute();
      return untold.length === 0;
    });
    await platform.removeEndpoint(endpoint);
    expect(seqs()).toHaveLength(20);
  });

  test('miss no event that is recorded after the endpoint was made, also while others are read', async () => {
    const { db, databaseUrl } = platform.stack;
    const order = await platform.place();
    const other = await platform.addQuietEndpoint();
    await platform.process.stop();
    const recorder = new pg.Client({ connectionString: databaseUrl });
    await recorder.connect();
    await recorder.query('begin');
    await recorder.query(
      `insert into ordering.order_events (order_id, seq, type, actor) values ($1, 900, 'test.recorded', 'test')`,
      [order.id],
    );
    await recorder.query('lock table ordering.order_events in access exclusive mode');
    const fanningOut = fanOut(db);
    await eventually('events are about to be read', async () => {
      const { rows } = await sql`
        select from pg_locks join pg_database on pg_database.oid = database
        where datname = current_database() and relation = 'ordering.order_events'::regclass and not granted
      `.execute(db);
      return rows.length > 0;
    });
    const id = randomUUID();
    const url = platform.receiver.url(`/${id}`);
    const fields = { url, eventTypes: ['test.*'], description: '', enabled: true };
    await createWebhookEndpoint(db, { id, ...fields, secret: other.secret });
    await recorder.query('commit');
    await recorder.end();
    await fanningOut;
    await platform.startApi();
    const [heard] = await eventually('it hears', () => {
      const received = platform.receiver.received(`/${id}`);
      return received.length > 0 && received;
    });
    expect(heard!.body).toMatchObject({ type: 'test.recorded', data: { orderId: order.id } });
    for (const endpoint of [{ id }, other]) await platform.removeEndpoint(endpoint);
  });
});

import { randomUUID } from 'node:crypto';
import type { LookupOptions } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AddressRefused,
  anyLookup,
  lookupAny,
  lookupPublic,
  publicLookup,
} from '../providers/webhooks/address-guard.ts';
import { startNameServer } from './harness/name-server.ts';
import { expectProblem } from './harness/problems.ts';
import { isSignedWith } from './harness/receiver.ts';
import { eventually } from './harness/wait.ts';
import { WebhookPlatform } from './harness/webhooks.ts';

let platform: WebhookPlatform;
beforeAll(async () => {
  platform = await WebhookPlatform.start();
});
afterAll(() => platform.stop());

describe('webhook endpoints', () => {
  test('after a rotation the old secret signs beside the new one for a day', async () => {
    const endpoint = await platform.addQuietEndpoint();
    const key = { 'idempotency-key': randomUUID() };
    const rotated = await platform.ask('POST', `webhook-endpoints/${endpoint.id}/rotate-secret`, {}, key);
    const { secret } = rotated.body;
    expect(secret).not.toBe(endpoint.secret);
    const replayed = await platform.ask('POST', `webhook-endpoints/${endpoint.id}/rotate-secret`, {}, key);
    expect(replayed.body.secret).toBeUndefined();
    await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    const [first] = platform.receiver.received(endpoint.path);
    expect(String(first!.headers['webhook-signature']).split(' ')).toHaveLength(2);
    for (const one of [secret, endpoint.secret]) expect(isSignedWith(one, first!)).toBe(true);

    // Rotated again, because the answer was lost: receivers know the first one only.
    const again = await platform.ask('POST', `webhook-endpoints/${endpoint.id}/rotate-secret`, {});
    await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    const second = platform.receiver.received(endpoint.path)[1]!;
    for (const one of [again.body.secret, secret, endpoint.secret])
      expect(isSignedWith(one, second)).toBe(true);

    await sql`
      update messaging.webhook_endpoints
      set older_secrets = jsonb_set(older_secrets, '{0,until}', to_jsonb(now() - interval '1 second'))
      where id = ${endpoint.id}::uuid
    `.execute(platform.stack.db);
    await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    const third = platform.receiver.received(endpoint.path)[2]!;
    for (const one of [again.body.secret, secret]) expect(isSignedWith(one, third)).toBe(true);
    expect(isSignedWith(endpoint.secret, third)).toBe(false);

    // Each lasts a day, and there are at most five.
    for (let rotation = 0; rotation < 5; rotation += 1)
      await platform.ask('POST', `webhook-endpoints/${endpoint.id}/rotate-secret`, {});
    await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    const fourth = platform.receiver.received(endpoint.path)[3]!;
    expect(String(fourth.headers['webhook-signature']).split(' ')).toHaveLength(5);
  });

  test('lists go by endpoint, status and type, page by page', async () => {
    const endpoint = await platform.addQuietEndpoint();
    const sent = [];
    for (let count = 0; count < 3; count += 1) sent.push(await platform.sendTest(endpoint));
    for (const { id } of sent) await platform.untilStatus(id, 'delivered');
    const list = `webhook-deliveries?endpointId=${endpoint.id}&status=delivered&eventType=webhook.test&limit=2`;
    const first = await platform.ask('GET', list);
    expect(first.headers.get('link')).toContain('rel="next"');
    const second = await platform.ask('GET', `${list}&cursor=${first.body.nextCursor}`);
    expect(second.body.nextCursor).toBeNull();
    const ids = [...first.body.data, ...second.body.data].map(({ id }) => id);
    expect(ids).toEqual(sent.map(({ id }) => id).toReversed());
    expect(
      (await platform.ask('GET', `webhook-deliveries?endpointId=${endpoint.id}&status=failed`)).body.data,
    ).toEqual([]);

    const endpoints = (await platform.ask('GET', 'webhook-endpoints?limit=1')).body;
    expect(endpoints.data[0].id).toBe(endpoint.id);
    expect(endpoints.data[0]).not.toHaveProperty('secret');
    expect((await platform.ask('GET', `webhook-endpoints?cursor=${endpoints.nextCursor}`)).status).toBe(200);
    expect((await platform.removeEndpoint(endpoint)).status).toBe(204);
    expectProblem(await platform.ask('GET', `webhook-endpoints/${endpoint.id}`), 404, 'not_found');
    expectProblem(await platform.removeEndpoint(endpoint), 404, 'not_found');
    expect(
      (await platform.ask('GET', `webhook-deliveries?endpointId=${endpoint.id}`)).body.data,
    ).toHaveLength(3);
  });

  test('a repeated request makes one endpoint, and tells its secret once', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const body = { url: platform.receiver.url('/once'), eventTypes: ['webhook.*'] };
    const answers = await Promise.all(
      [1, 2, 3].map(() => platform.ask('POST', 'webhook-endpoints', body, key)),
    );
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(answers.filter((answer) => answer.body.secret !== undefined)).toHaveLength(1);
    expect(answers.filter((answer) => answer.headers.get('idempotent-replayed') === 'true')).toHaveLength(2);
    expectProblem(
      await platform.ask('POST', 'webhook-endpoints', { ...body, description: 'other' }, key),
      422,
      'idempotency_key_reused',
    );
  });

  test('are for admins, and bad input is told', async () => {
    const { id } = await platform.addQuietEndpoint();
    const staff = await platform.api.login('staff@example.com');
    for (const token of [platform.john, staff]) {
      for (const [method, path] of [
        ['GET', 'webhook-endpoints'],
        ['POST', 'webhook-endpoints'],
        ['GET', `webhook-endpoints/${id}`],
        ['PATCH', `webhook-endpoints/${id}`],
        ['DELETE', `webhook-endpoints/${id}`],
        ['POST', `webhook-endpoints/${id}/test`],
        ['POST', `webhook-endpoints/${id}/rotate-secret`],
        ['GET', 'webhook-deliveries'],
        ['GET', `webhook-deliveries/${id}`],
        ['POST', `webhook-deliveries/${id}/replay`],
      ] as const) {
        expectProblem(
          await platform.ask(method, path, method === 'GET' ? undefined : {}, {}, token),
          403,
          'forbidden',
        );
      }
    }
    const url = platform.receiver.url('/bad');
    for (const [body, pointer] of [
      [{}, '/url'],
      [{ url: 'no url' }, '/url'],
      [{ url: 'ftp://example.com' }, '/url'],
      [{ url: 'https://user:password@example.com' }, '/url'],
      [{ url: 'https://example.com/#part' }, '/url'],
      [{ url: 'https://example.com:22' }, '/url'],
      [{ url: `https://example.com/${'x'.repeat(2000)}` }, '/url'],
      [{ url: 'https://example.com/\0' }, '/url'],
      [{ url, eventTypes: ['Order'] }, '/eventTypes/0'],
      [{ url, eventTypes: 'order.placed' }, '/eventTypes'],
      [{ url, description: 'a\0b' }, '/description'],
      [{ url, enabled: 'yes' }, '/enabled'],
      [{ url, secret: 'mine' }, '/secret'],
    ] as const) {
      expectProblem(await platform.ask('POST', 'webhook-endpoints', body), 422, 'validation_failed', pointer);
      if (Object.keys(body).length === 0) continue;
      expectProblem(
        await platform.ask('PATCH', `webhook-endpoints/${id}`, body),
        422,
        'validation_failed',
        pointer,
      );
    }
    for (const path of ['webhook-endpoints/x', `webhook-endpoints/${randomUUID()}`, 'webhook-deliveries/x']) {
      expectProblem(await platform.ask('GET', path), 404, 'not_found');
    }
    for (const query of ['status=sent', 'endpointId=x', 'cursor=x', 'what=1', 'eventType=%00']) {
      expectProblem(await platform.ask('GET', `webhook-deliveries?${query}`), 400);
    }
  });

  test('may be on this very machine, if configured, by name', async () => {
    const endpoint = await platform.addQuietEndpoint();
    const url = platform.receiver.url(endpoint.path).replace('127.0.0.1', 'localhost');
    await platform.ask('PATCH', `webhook-endpoints/${endpoint.id}`, { url });
    await platform.untilStatus((await platform.sendTest(endpoint)).id, 'delivered');
    expect(platform.receiver.received(endpoint.path)).toHaveLength(1);
  });

  test('go to the public Internet only, unless configured', async () => {
    const strict = await platform.stack.startApi({ WEBHOOK_ALLOW_PRIVATE: 'false' });
    for (const url of [
      'http://example.com/',
      'https://localhost/',
      'https://127.0.0.1/',
      'https://2130706433/',
      'https://0x7f.1/',
      'https://10.1.2.3/',
      'https://172.16.0.1/',
      'https://192.168.1.1/',
      'https://169.254.169.254/latest/meta-data',
      'https://100.64.0.1/',
      'https://0.0.0.0/',
      'https://[::1]/',
      'https://[::127.0.0.1]/',
      'https://[4000::1]/',
      'https://[::ffff:127.0.0.1]/',
      'https://[::ffff:a9fe:a9fe]/',
      'https://[fd00::1]/',
      'https://[fe80::1]/',
      'https://[64:ff9b::7f00:1]/',
      'https://metadata.google.internal/',
    ]) {
      const answer = await strict.api.request('POST', '/v1/webhook-endpoints', {
        token: platform.admin,
        body: { url },
      });
      expectProblem(answer, 422, 'validation_failed', '/url');
    }
    await strict.process.stop();

    // What was added while it was allowed is refused when it is sent.
    const endpoint = await platform.addQuietEndpoint();
    const url = platform.receiver.url(endpoint.path).replace('http:', 'https:');
    await platform.ask('PATCH', `webhook-endpoints/${endpoint.id}`, { url });
    await platform.process.stop();
    await platform.startApi({ WEBHOOK_ALLOW_PRIVATE: 'false' });
    const refused = await platform.untilStatus((await platform.sendTest(endpoint)).id, 'failed');
    expect(refused.attempts[0]).toMatchObject({ error: 'The host must be a public one' });
    expect(platform.receiver.received(endpoint.path)).toEqual([]);
  });

  describe('where a name leads', () => {
    const lookUp = (lookup: LookupFunction, name: string, options: LookupOptions = { all: true }) =>
      new Promise((resolve) => {
        lookup(name, options, (error, found) => resolve(error ?? found));
      });

    test('to a private address, nothing is sent, at the very connection', async () => {
      const server = await startNameServer({
        'private.example.com': ['10.1.2.3'],
        'mixed.example.com': ['93.184.215.14', '127.0.0.1'],
        'v6.example.com': ['93.184.215.14', '::1'],
      });
      const lookup = publicLookup([server.address]);
      for (const options of [{}, { all: true }]) {
        for (const name of ['localhost', '127.0.0.1', '::1']) {
          expect(await lookUp(lookupPublic, name, options)).toBeInstanceOf(AddressRefused);
        }
        for (const name of ['private.example.com', 'mixed.example.com', 'v6.example.com']) {
          expect(await lookUp(lookup, name, options)).toBeInstanceOf(AddressRefused);
        }
      }
      await server.stop();
    });

    test('is found while the name servers of other endpoints are silent', async () => {
      const names = {
        'both.example.com': ['93.184.215.14', '2606:2800:21f::1'],
        'old.example.com': ['93.184.215.14'],
        'new.example.com': ['2606:2800:21f::1'],
        'silent.example.com': 'silent' as const,
      };
      const find = async (lookupWith: typeof publicLookup): Promise<void> => {
        const server = await startNameServer(names);
        const lookup = lookupWith([server.address]);
        const answered: unknown[] = [];
        const silent = Array.from({ length: 8 }, async () => {
          answered.push(await lookUp(lookup, 'silent.example.com'));
        });
        await eventually('all are asked', () => server.asked('silent.example.com') >= 16);
        const v4 = { address: '93.184.215.14', family: 4 };
        const v6 = { address: '2606:2800:21f::1', family: 6 };
        expect(await lookUp(lookup, 'both.example.com')).toEqual([v4, v6]);
        expect(await lookUp(lookup, 'old.example.com')).toEqual([v4]);
        expect(await lookUp(lookup, 'new.example.com')).toEqual([v6]);
        expect(await lookUp(lookup, 'both.example.com', {})).toBe(v4.address);
        const nobody = await lookUp(lookup, 'nobody.example.com');
        expect(nobody).toMatchObject({ code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/) });
        expect(answered).toEqual([]);
        await Promise.all(silent);
        for (const error of answered) expect(error).toMatchObject({ code: 'ETIMEOUT' });
        await server.stop();
      };
      await Promise.all([find(publicLookup), find(anyLookup)]);
    });

    test('may be this machine or its network, if configured', async () => {
      const server = await startNameServer({ 'private.example.com': ['10.1.2.3'] });
      const lookup = anyLookup([server.address]);
      const found = { address: '10.1.2.3', family: 4 };
      expect(await lookUp(lookup, 'private.example.com')).toEqual([found]);
      expect(await lookUp(lookup, 'private.example.com', {})).toBe(found.address);
      expect(await lookUp(lookup, 'localhost')).toContainEqual({ address: '127.0.0.1', family: 4 });
      expect(await lookUp(lookupAny, 'LocalHost')).toContainEqual({ address: '127.0.0.1', family: 4 });
      expect(server.asked('localhost')).toBe(0);
      await server.stop();
    });
  });
});

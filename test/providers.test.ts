import { randomBytes, randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { connect, type Db } from '../db/connect.ts';
import { mockCarrierBooks } from '../db/mock-carrier-books.ts';
import { mockPaymentBooks } from '../db/mock-payment-books.ts';
import type { CarrierProvider } from '../providers/carrier/carrier.ts';
import { mockCarrier } from '../providers/carrier/mock.ts';
import { CircuitOpen } from '../providers/circuit.ts';
import { guardCarrier, guardPayments } from '../providers/guarded.ts';
import { mockPayments } from '../providers/payment/mock.ts';
import {
  type Authorization,
  type AuthorizeRequest,
  PaymentInProgress,
  type PaymentProvider,
  PaymentRefused,
} from '../providers/payment/provider.ts';
import { signMockWebhook, verifyWebhook } from '../providers/webhooks/standard-webhooks.ts';
import { startStack, type TestStack } from './harness/stack.ts';

const SECRET = `whsec_${randomBytes(24).toString('base64')}`;
const calm = new AbortController().signal;

const requestOf = (token: string, more: Partial<AuthorizeRequest> = {}): AuthorizeRequest => {
  const paymentId = randomUUID();
  return {
    idempotencyKey: paymentId,
    paymentId,
    orderId: randomUUID(),
    orderNumber: 'ABCDE-12345',
    amount: 10_000,
    currency: 'USD',
    token,
    ...more,
  };
};

const captureOf = (reference: string, amount: number, final = false) => ({
  idempotencyKey: randomUUID(),
  reference,
  amount,
  currency: 'USD',
  final,
});

const movementOf = (reference: string) => ({ idempotencyKey: randomUUID(), reference });
const refundOf = (reference: string, amount: number) => ({
  ...movementOf(reference),
  amount,
  currency: 'USD',
});

const refused = (code: PaymentRefused['code']) => ({ name: 'PaymentRefused', code });
const badSignature = { name: 'WebhookRefused', code: 'bad_signature' };
const unreadable = { name: 'WebhookRefused', code: 'unreadable' };

/** How many of these calls did what they were asked for; the others were refused as not possible. */
async function countDone(calls: Promise<unknown>[]): Promise<number> {
  const settled = await Promise.allSettled(calls);
  const failures = settled.flatMap((call) => (call.status === 'rejected' ? [call.reason as unknown] : []));
  for (const failure of failures) expect(failure).toMatchObject(refused('not_possible'));
  return calls.length - failures.length;
}

const times = <T>(count: number, call: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => call(index));

describe('the mock companies', () => {
  let stack: TestStack;
  let otherDb: Db;
  let payments: PaymentProvider;
  /** The same company, asked by another process. */
  let elsewhere: PaymentProvider;
  let carrier: CarrierProvider;
  beforeAll(async () => {
    stack = await startStack({ api: false });
    otherDb = connect(stack.databaseUrl, { max: 8, name: 'test-elsewhere' }).db;
    payments = mockPayments({ books: mockPaymentBooks(stack.db), webhookSecret: SECRET });
    elsewhere = mockPayments({ books: mockPaymentBooks(otherDb), webhookSecret: SECRET });
    carrier = mockCarrier({ books: mockCarrierBooks(stack.db), webhookSecret: SECRET });
  });
  afterAll(async () => {
    await otherDb.destroy();
    await stack.stop();
  });

  const authorized = async (token = 'tok_ok', more: Partial<AuthorizeRequest> = {}): Promise<string> => {
    const answer = await payments.authorize(requestOf(token, more), calm);
    expect(answer.status).toBe('authorized');
    return answer.reference!;
  };

  /** What the company's books say of an intent. */
  const booked = async (reference: string) => {
    const { rows } = await sql<{ status: string; captured: number; refunded: number }>`
      select status, captured, refunded from mock_company.payment_intents
      where id = ${reference.slice('mock_'.length)}::uuid
    `.execute(stack.db);
    return rows[0];
  };

  const webhook = (type: string, data: object) => {
    const body = JSON.stringify({ type, data });
    return payments.readWebhook(signMockWebhook(SECRET, body), Buffer.from(body));
  };

  describe('a card', () => {
    test('tok_ok holds the money, in one statement', async () => {
      const statements: string[] = [];
      const { db, pool } = connect(stack.databaseUrl, { max: 1, name: 'test-counting' });
      pool.on('connect', (client) => {
        const query = client.query.bind(client) as (...args: unknown[]) => unknown;
        client.query = ((...args: unknown[]) => {
          statements.push(String(args[0]));
          return query(...args);
        }) as typeof client.query;
      });
      const request = requestOf('tok_ok');
      const counted = mockPayments({ books: mockPaymentBooks(db), webhookSecret: SECRET });
      expect(await counted.authorize(request, calm)).toEqual({
        status: 'authorized',
        reference: `mock_${request.paymentId}`,
        multicapture: true,
      });
      expect(statements).toHaveLength(1);
      await db.destroy();
    });

    test.each([
      ['tok_declined', 'Your card was declined.'],
      ['tok_insufficient_funds', 'Your card has insufficient funds.'],
      ['tok_of_nobody', 'This card token is not known.'],
      ['constructor', 'This card token is not known.'],
    ])('%s is declined: %s', async (token, detail) => {
      const answer = await payments.authorize(requestOf(token), calm);
      expect(answer).toMatchObject({ status: 'declined', detail });
      await expect(payments.capture(captureOf(answer.reference!, 1), calm)).rejects.toMatchObject(
        refused('not_possible'),
      );
    });

    test('tok_flaky fails twice and then works, whichever process asks', async () => {
      const request = requestOf('tok_flaky');
      const failures = await Promise.allSettled([
        payments.authorize(request, calm),
        elsewhere.authorize(request, calm),
      ]);
      for (const failure of failures) {
        expect(failure.status).toBe('rejected');
        expect((failure as PromiseRejectedResult).reason).not.toBeInstanceOf(PaymentRefused);
      }
      expect(await payments.authorize(request, calm)).toMatchObject({ status: 'authorized' });
      await payments.capture(captureOf(`mock_${request.paymentId}`, 10_000, true), calm);
    });

    test('tok_slow answers 5 s after it was first asked; who gives up does not stop it', async () => {
      const request = requestOf('tok_slow');
      const slowMs = 4_900;
      const started = performance.now();
      const hurried = payments.authorize(request, AbortSignal.timeout(2_000));
      await expect(hurried).rejects.toThrow('aborted');
      const gaveUp = performance.now() - started;
      expect(gaveUp).toBeLessThan(slowMs);
      expect(await elsewhere.authorize(request, calm)).toMatchObject({ status: 'authorized' });
      const waited = performance.now() - started;
      expect(waited).toBeGreaterThan(slowMs);
      expect(waited).toBeLessThan(gaveUp + slowMs);
      const again = performance.now();
      expect(await payments.authorize(request, calm)).toMatchObject({ status: 'authorized' });
      expect(performance.now() - again).toBeLessThan(slowMs);
    });

    test('tok_expires is found expired by its first capture; its renewal works', async () => {
      const reference = await authorized('tok_expires');
      const capture = captureOf(reference, 10_000, true);
      for (const again of [capture, capture, captureOf(reference, 1)]) {
        await expect(payments.capture(again, calm)).rejects.toMatchObject(refused('authorization_expired'));
      }
      expect(await booked(reference)).toEqual({ status: 'expired', captured: 0, refunded: 0 });
      const renewed = await authorized('tok_expires', { renews: reference });
      await payments.capture(captureOf(renewed, 10_000, true), calm);
      expect(await booked(renewed)).toMatchObject({ status: 'captured', captured: 10_000 });
    });

    test('tok_single_capture can be captured once', async () => {
      const { reference, multicapture } = (await payments.authorize(
        requestOf('tok_single_capture'),
        calm,
      )) as Extract<Authorization, { status: 'authorized' }>;
      expect(multicapture).toBe(false);
      await payments.capture(captureOf(reference, 4_000), calm);
      await expect(payments.capture(captureOf(reference, 1), calm)).rejects.toMatchObject(
        refused('not_possible'),
      );
      expect(await booked(reference)).toMatchObject({ status: 'captured', captured: 4_000 });
    });

    test.each(['authorized', 'failed'] as const)(
      'tok_async is %s when its webhook says so',
      async (status) => {
        const request = requestOf('tok_async');
        const reference = `mock_${request.paymentId}`;
        expect(await payments.authorize(request, calm)).toEqual({
          status: 'processing',
          reference,
          multicapture: true,
        });
        await expect(payments.capture(captureOf(reference, 1), calm)).rejects.toMatchObject(
          refused('not_possible'),
        );

        const notice = await webhook(`payment.${status}`, { paymentId: request.paymentId });
        expect(notice).toMatchObject({ paymentId: request.paymentId, reference, status });
        expect(await booked(reference)).toMatchObject({ status });
        expect(await payments.authorize(request, calm)).toMatchObject({ status: 'processing' });
      },
    );

    test('tok_async that is voided stays so, whatever a later webhook says', async () => {
      const request = requestOf('tok_async');
      const { reference } = await payments.authorize(request, calm);
      await payments.void(movementOf(reference!), calm);
      expect(await webhook('payment.authorized', { paymentId: request.paymentId })).toMatchObject({
        status: 'authorized',
      });
      expect(await booked(reference!)).toMatchObject({ status: 'voided' });
    });
  });

  describe('money', () => {
    test('is captured in parts, and what a void frees is gone', async () => {
      const reference = await authorized();
      await payments.capture(captureOf(reference, 3_000), calm);
      await payments.capture(captureOf(reference, 2_000), calm);
      await expect(payments.capture(captureOf(reference, 5_001), calm)).rejects.toMatchObject(
        refused('not_possible'),
      );
      const release = movementOf(reference);
      await payments.void(release, calm);
      await payments.void(release, calm);
      await payments.void(movementOf(reference), calm);
      await expect(payments.capture(captureOf(reference, 1), calm)).rejects.toMatchObject(
        refused('not_possible'),
      );
      expect(await booked(reference)).toEqual({ status: 'captured', captured: 5_000, refunded: 0 });
    });

    test('that was voided or finally captured cannot be captured', async () => {
      const voided = await authorized();
      await payments.void(movementOf(voided), calm);
      const final = await authorized();
      await payments.capture(captureOf(final, 1_000, true), calm);
      for (const reference of [voided, final, `mock_${randomUUID()}`]) {
        await expect(payments.capture(captureOf(reference, 1), calm)).rejects.toMatchObject(
          refused('not_possible'),
        );
      }
      expect(await booked(voided)).toMatchObject({ status: 'voided', captured: 0 });
    });

    test('is refunded up to what was captured', async () => {
      const reference = await authorized();
      await expect(payments.refund(refundOf(reference, 1), calm)).rejects.toMatchObject(
        refused('not_possible'),
      );
      await payments.capture(captureOf(reference, 5_000), calm);
      await payments.refund(refundOf(reference, 2_000), calm);
      await expect(payments.refund(refundOf(reference, 3_001), calm)).rejects.toMatchObject(
        refused('not_possible'),
      );
      await payments.refund(refundOf(reference, 3_000), calm);
      expect(await booked(reference)).toMatchObject({ captured: 5_000, refunded: 5_000 });
    });

    test('moves once for a key, and a key means one movement', async () => {
      const request = requestOf('tok_ok');
      const answers = await Promise.all(
        times(10, (index) => (index % 2 ? payments : elsewhere).authorize(request, calm)),
      );
      for (const answer of answers) expect(answer).toEqual(answers[0]);
      await expect(payments.authorize({ ...request, amount: 1 }, calm)).rejects.toMatchObject(
        refused('not_possible'),
      );

      const reference = answers[0]!.reference!;
      const capture = captureOf(reference, 3_000);
      const equal = times(10, (index) => (index % 2 ? payments : elsewhere).capture(capture, calm));
      expect(await countDone(equal)).toBe(10);
      await expect(payments.capture({ ...capture, amount: 1 }, calm)).rejects.toMatchObject(
        refused('not_possible'),
      );
      await expect(payments.refund({ ...capture }, calm)).rejects.toMatchObject(refused('not_possible'));

      const refund = refundOf(reference, 1_000);
      expect(await countDone(times(10, () => payments.refund(refund, calm)))).toBe(10);
      expect(await booked(reference)).toEqual({ status: 'authorized', captured: 3_000, refunded: 1_000 });
    });

    test('that is captured and refunded by many at once is never more than there is', async () => {
      const reference = await authorized();
      const captures = times(10, (index) =>
        (index % 2 ? payments : elsewhere).capture(captureOf(reference, 3_000), calm),
      );
      expect(await countDone(captures)).toBe(3);
      const refunds = times(10, (index) =>
        (index % 2 ? payments : elsewhere).refund(refundOf(reference, 2_000), calm),
      );
      expect(await countDone(refunds)).toBe(4);
      expect(await booked(reference)).toMatchObject({ captured: 9_000, refunded: 8_000 });
    });

    test('that is captured and voided at once is either', async () => {
      const references = await Promise.all(times(10, () => authorized()));
      const captured = await Promise.all(
        references.map(async (reference) => {
          const [done] = await Promise.all([
            countDone([payments.capture(captureOf(reference, 4_000), calm)]),
            elsewhere.void(movementOf(reference), calm),
          ]);
          return done;
        }),
      );
      for (const [index, reference] of references.entries()) {
        expect(await booked(reference)).toMatchObject(
          captured[index] ? { status: 'captured', captured: 4_000 } : { status: 'voided', captured: 0 },
        );
      }
    });

    test('that is held without our knowing is in the list of open authorizations', async () => {
      const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(stack.db);
      const since = rows[0]!.now;
      const first = await authorized();
      const undecided = await payments.authorize(requestOf('tok_async'), calm);
      await payments.authorize(requestOf('tok_declined'), calm);
      await payments.void(movementOf(await authorized()), calm);
      await payments.capture(captureOf(await authorized(), 1, true), calm);
      const last = await authorized();
      const open = await payments.listOpenAuthorizations(since, calm);
      expect(open).toEqual(
        [first, undecided.reference!, last].map((reference) => ({
          reference,
          paymentId: reference.slice('mock_'.length),
        })),
      );
    });
  });

  test('a payment webhook of another type says nothing, and one of an unknown payment is told all the same', async () => {
    expect(await webhook('payout.paid', { amount: 1 })).toBeUndefined();
    const paymentId = randomUUID();
    expect(await webhook('payment.failed', { paymentId })).toMatchObject({
      paymentId,
      reference: `mock_${paymentId}`,
      status: 'failed',
    });
    await expect(webhook('payment.authorized', { paymentId: 'x' })).rejects.toMatchObject(unreadable);
    await expect(webhook('payment.failed', {})).rejects.toMatchObject(unreadable);
  });

  describe('the carrier', () => {
    const parcelOf = (more: { trackingNumber?: string } = {}) => ({
      shipmentId: randomUUID(),
      orderNumber: 'ABCDE-12345',
      carrier: 'UPS',
      address: { name: 'A', line1: 'B', city: 'C', postalCode: 'D', country: 'US' },
      ...more,
    });

    test('books a parcel once, with the number it is given or one of its own', async () => {
      const parcel = parcelOf();
      const answers = await Promise.all(times(5, () => carrier.book(parcel, calm)));
      expect(new Set(answers.map(({ trackingNumber }) => trackingNumber)).size).toBe(1);
      expect(answers[0]!.trackingNumber).toMatch(/^MOCK[0-9A-F]{12}$/);
      expect(await carrier.book(parcelOf({ trackingNumber: '1Z999' }), calm)).toEqual({
        trackingNumber: '1Z999',
      });
    });

    test('takes a booking back, also twice, also one that never was', async () => {
      const parcel = parcelOf();
      await carrier.book(parcel, calm);
      await carrier.cancel(parcel.shipmentId, calm);
      await carrier.cancel(parcel.shipmentId, calm);
      await carrier.cancel(randomUUID(), calm);
      const { rows } = await sql<{ status: string }>`
        select status from mock_company.carrier_bookings where shipment_id = ${parcel.shipmentId}::uuid
      `.execute(stack.db);
      expect(rows).toEqual([{ status: 'cancelled' }]);
    });

    test('tells by webhook where a parcel is', () => {
      const read = (event: object, secret = SECRET) => {
        const body = JSON.stringify(event);
        return carrier.readWebhook(signMockWebhook(secret, body), Buffer.from(body));
      };
      const data = { trackingNumber: 'MOCK1', status: 'out_for_delivery' };
      expect(read({ type: 'shipment.updated', data })).toEqual(data);
      expect(() => read({ type: 'shipment.updated', data }, `whsec_${btoa('another')}`)).toThrow(
        expect.objectContaining(badSignature),
      );
      for (const event of [
        { type: 'shipment.updated', data: { ...data, status: 'created' } },
        { type: 'shipment.lost', data },
        {},
      ]) {
        expect(() => read(event)).toThrow(expect.objectContaining(unreadable));
      }
    });
  });
});

describe('a webhook by the rules of Standard Webhooks', () => {
  const body = '{"hello":"world"}';
  const schema = z.object({ hello: z.string() });
  const verify = (headers: Record<string, string | string[] | undefined>, sent = body) =>
    verifyWebhook(SECRET, headers, Buffer.from(sent), schema);
  const signedAt = (time: Date, sent = body) => ({
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(Math.floor(time.getTime() / 1000)),
    'webhook-signature': new Webhook(SECRET).sign('msg_1', time, sent),
  });
  const minutes = (count: number) => new Date(Date.now() + count * 60_000);

  test('is read when one of its signatures is right', () => {
    const headers = signMockWebhook(SECRET, body);
    expect(verify(headers)).toEqual({ hello: 'world' });
    const several = `v1,${btoa('x'.repeat(32))} v1a,zzz ${headers['webhook-signature']}`;
    expect(verify({ ...headers, 'webhook-signature': several })).toEqual({ hello: 'world' });
    expect(verify(signedAt(minutes(-4)))).toEqual({ hello: 'world' });
  });

  test('agrees with the example of the specification', () => {
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    const sent = '{"test": 2432232314}';
    vi.useFakeTimers({ now: 1_614_265_330_000, toFake: ['Date'] });
    try {
      const headers = {
        'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
        'webhook-timestamp': '1614265330',
        'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
      };
      expect(verifyWebhook(secret, headers, Buffer.from(sent), z.object({ test: z.number() }))).toEqual({
        test: 2432232314,
      });
    } finally {
      vi.useRealTimers();
    }
  });

  test.each([
    ['another body', () => ({ ...signMockWebhook(SECRET, '{"hello":"you"}') })],
    ['another secret', () => signMockWebhook(`whsec_${btoa('another')}`, body)],
    ['another id', () => ({ ...signMockWebhook(SECRET, body), 'webhook-id': 'msg_2' })],
    ['six minutes of age', () => signedAt(minutes(-6))],
    ['a time to come', () => signedAt(minutes(6))],
    ['no signature', () => ({ ...signMockWebhook(SECRET, body), 'webhook-signature': undefined })],
    ['a header twice', () => ({ ...signMockWebhook(SECRET, body), 'webhook-id': ['msg_1', 'msg_1'] })],
    [
      'a version that is not known',
      () => ({ ...signMockWebhook(SECRET, body), 'webhook-signature': 'v9,abc' }),
    ],
  ])('is refused with %s', (_, headers) => {
    expect(() => verify(headers())).toThrow(expect.objectContaining(badSignature));
  });

  test.each(['', 'no JSON', '{"hello":1}', 'null'])('that says %j is unreadable', (sent) => {
    expect(() => verify(signMockWebhook(SECRET, sent), sent)).toThrow(expect.objectContaining(unreadable));
  });
});

describe('a circuit breaker', () => {
  /** A company that does as it is told: its next answers, after which it is well. */
  let script: (() => Promise<never>)[];
  let asked: number;
  let states: string[];
  let guarded: PaymentProvider;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'] });
    script = [];
    asked = 0;
    states = [];
    const answer = async () => {
      asked += 1;
      await script.shift()?.();
    };
    const company: PaymentProvider = {
      name: 'scripted',
      shared: false,
      authorize: async () => {
        await answer();
        return { status: 'declined', detail: 'Your card was declined.' };
      },
      capture: answer,
      void: answer,
      refund: answer,
      listOpenAuthorizations: async () => [],
      readWebhook: async () => undefined,
    };
    const options = { consecutiveFailures: 5, onStateChange: (state: string) => states.push(state) };
    guarded = guardPayments(company, options);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const down = () => Promise.reject(new Error('503'));
  const capture = (signal = calm) => guarded.capture(captureOf('x', 1), signal);
  const failures = async (count: number, call: () => Promise<unknown> = capture) => {
    for (let index = 0; index < count; index += 1) await expect(call()).rejects.toThrow('503');
  };
  const open = async () => {
    script = times(5, () => down);
    await failures(5);
  };

  test('opens after five failures in a row, fails fast, and reads webhooks all the while', async () => {
    script = times(4, () => down);
    await failures(4);
    await capture();
    await open();
    expect(states).toEqual(['open']);
    const before = asked;
    await expect(capture()).rejects.toBeInstanceOf(CircuitOpen);
    await expect(guarded.authorize(requestOf('tok_ok'), calm)).rejects.toBeInstanceOf(CircuitOpen);
    expect(asked).toBe(before);
    expect(await guarded.readWebhook({}, Buffer.from(''))).toBeUndefined();
  });

  test('lets one call try after ten seconds, and closes when it works', async () => {
    await open();
    vi.advanceTimersByTime(9_900);
    await expect(capture()).rejects.toBeInstanceOf(CircuitOpen);
    vi.advanceTimersByTime(200);

    const { promise: answered, resolve: answer } = promiseWithResolvers();
    script = [() => answered as Promise<never>];
    const trying = capture();
    await expect(capture()).rejects.toBeInstanceOf(CircuitOpen);
    answer();
    await trying;
    await capture();
    expect(states).toEqual(['open', 'half_open', 'closed']);
  });

  test('stays open when that call fails', async () => {
    await open();
    vi.advanceTimersByTime(10_100);
    script = [down];
    await failures(1);
    await expect(capture()).rejects.toBeInstanceOf(CircuitOpen);
    expect(states).toEqual(['open', 'half_open', 'open']);
  });

  test.each([
    ['refuses', () => Promise.reject(new PaymentRefused('not_possible', '503'))],
    ['is at it already', () => Promise.reject(new PaymentInProgress('503'))],
  ])('stays closed when the company %s', async (_, answer) => {
    script = times(20, () => answer);
    await failures(20);
    expect(states).toEqual([]);
  });

  test('stays closed when cards are declined', async () => {
    for (let index = 0; index < 20; index += 1) {
      expect(await guarded.authorize(requestOf('tok_declined'), calm)).toMatchObject({ status: 'declined' });
    }
    expect(states).toEqual([]);
  });

  test('stays closed when callers run out of time, and opens when the company does', async () => {
    for (let index = 0; index < 20; index += 1) {
      const budget = new AbortController();
      const reason = new Error('Out of time.');
      script = [
        () => {
          budget.abort(reason);
          return Promise.reject(reason);
        },
      ];
      await expect(capture(budget.signal)).rejects.toBe(reason);
    }
    expect(states).toEqual([]);
    script = times(5, () => down);
    await failures(5);
    expect(states).toEqual(['open']);
  });

  test('guards a carrier on its own', async () => {
    const carrier = guardCarrier(
      {
        name: 'scripted',
        book: down,
        cancel: async () => {},
        readWebhook: () => ({ trackingNumber: 'MOCK1', status: 'delivered' }),
      },
      { consecutiveFailures: 2, halfOpenAfterMs: 100 },
    );
    const book = () => carrier.book({} as Parameters<CarrierProvider['book']>[0], calm);
    await failures(2, book);
    await expect(book()).rejects.toBeInstanceOf(CircuitOpen);
    expect(carrier.readWebhook({}, Buffer.from(''))).toEqual({
      trackingNumber: 'MOCK1',
      status: 'delivered',
    });
    await capture();
    vi.advanceTimersByTime(150);
    await carrier.cancel('x', calm);
  });
});

function promiseWithResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

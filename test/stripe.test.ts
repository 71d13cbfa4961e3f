import { randomUUID } from 'node:crypto';
import { Stripe } from 'stripe';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type AuthorizeRequest,
  PaymentInProgress,
  type PaymentProvider,
  PaymentRefused,
} from '../providers/payment/provider.ts';
import { stripePayments } from '../providers/payment/stripe.ts';
import { WebhookRefused } from '../providers/webhooks/webhook-refused.ts';
import { StripeStandIn } from './harness/stripe-stand-in.ts';
import { eventually } from './harness/wait.ts';

const WEBHOOK_SECRET = 'whsec_only_used_by_these_tests';
const API_KEY = 'sk_test_only_used_by_these_tests';

let stripe: StripeStandIn;
let provider: PaymentProvider;
const calm = new AbortController().signal;

beforeEach(async () => {
  stripe = await StripeStandIn.start();
  provider = stripePayments({
    apiKey: API_KEY,
    webhookSecret: WEBHOOK_SECRET,
    apiBase: stripe.url,
    timeoutMs: 500,
  });
});
afterEach(() => stripe.stop());

const requestOf = (token = 'pm_card_visa', more: Partial<AuthorizeRequest> = {}): AuthorizeRequest => {
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

/** An authorization of 100 dollars; its reference. */
const authorized = async (token?: string, more?: Partial<AuthorizeRequest>): Promise<string> => {
  const answer = await provider.authorize(requestOf(token, more), calm);
  if (answer.status !== 'authorized') throw new Error(`It is ${answer.status}.`);
  return answer.reference;
};

const captureOf = (reference: string, amount: number, final = false) => ({
  idempotencyKey: randomUUID(),
  reference,
  amount,
  currency: 'USD',
  final,
});

const movementOf = (reference: string) => ({ idempotencyKey: randomUUID(), reference });

const refused = (code: PaymentRefused['code']) => ({ name: 'PaymentRefused', code });

/** An error that means: try again with the same key. */
const retryable = expect.toSatisfy(
  (error: unknown) => error instanceof Error && !(error instanceof PaymentRefused),
  'an error to try again after',
);

const postsTo = (path: string) =>
  stripe.requests.filter((request) => request.key !== undefined && request.path.endsWith(path));

describe('an authorization', () => {
  test('is one request that holds the money and keeps the card for later', async () => {
    const request = requestOf();
    const answer = await provider.authorize(request, calm);
    expect(answer).toEqual({
      status: 'authorized',
      reference: expect.stringMatching(/^pi_/),
      multicapture: true,
    });
    expect(stripe.requests).toEqual([
      {
        path: '/v1/payment_intents',
        key: request.idempotencyKey,
        params: {
          amount: '10000',
          currency: 'usd',
          payment_method: 'pm_card_visa',
          capture_method: 'manual',
          confirm: 'true',
          setup_future_usage: 'off_session',
          'allowed_payment_method_types[0]': 'card',
          'payment_method_options[card][request_multicapture]': 'if_available',
          'metadata[paymentId]': request.paymentId,
          'metadata[orderId]': request.orderId,
          'metadata[orderNumber]': 'ABCDE-12345',
          'expand[0]': 'latest_charge',
        },
      },
    ]);
  });

  test('that is declined tells the customer why, in the words of Stripe', async () => {
    expect(await provider.authorize(requestOf('pm_card_visa_chargeDeclinedInsufficientFunds'), calm)).toEqual(
      {
        status: 'declined',
        reference: expect.stringMatching(/^pi_/),
        detail: 'Your card has insufficient funds.',
      },
    );
    expect(await provider.authorize(requestOf('pm_of_nobody'), calm)).toEqual({
      status: 'declined',
      detail: 'This card token is not known.',
    });
  });

  test('waits for the customer where the bank wants 3D Secure', async () => {
    const answer = await provider.authorize(requestOf('pm_card_authenticationRequired'), calm);
    expect(answer).toMatchObject({ status: 'processing', reference: expect.stringMatching(/^pi_/) });
  });

  test('on an account or a card without multicapture says so, and is captured once', async () => {
    expect(
      await provider.authorize(requestOf('pm_card_credit_disableEnterpriseCardFeatures'), calm),
    ).toMatchObject({ status: 'authorized', multicapture: false });

    stripe.multicapture = false;
    const request = requestOf();
    const answer = await provider.authorize(request, calm);
    expect(answer).toMatchObject({ status: 'authorized', multicapture: false });
    const reference = answer.reference!;
    await expect(provider.capture(captureOf(reference, 4_000), calm)).rejects.toMatchObject(
      refused('not_possible'),
    );
    await provider.capture(captureOf(reference, 4_000, true), calm);
    expect(stripe.intent(reference)).toMatchObject({ status: 'succeeded', amount_received: 4_000 });
  });

  test('in a currency that Stripe counts in other units is not sent', async () => {
    await expect(
      provider.authorize(requestOf('pm_card_visa', { currency: 'ISK' }), calm),
    ).rejects.toMatchObject(refused('not_possible'));
    expect(stripe.requests).toEqual([]);
  });

  test('that nobody knows of is in the list of the open ones', async () => {
    const since = new Date();
    const [first, second] = [requestOf(), requestOf('pm_card_authenticationRequired')];
    const held = await provider.authorize(first, calm);
    const undecided = await provider.authorize(second, calm);
    await provider.authorize(requestOf('pm_card_visa_chargeDeclined'), calm);
    await provider.void(movementOf(await authorized()), calm);
    await provider.capture(captureOf(await authorized(), 10_000, true), calm);
    expect(await provider.listOpenAuthorizations(since, calm)).toEqual([
      { reference: held.reference, paymentId: first.paymentId },
      { reference: undecided.reference, paymentId: second.paymentId },
    ]);
    expect(await provider.listOpenAuthorizations(new Date(Date.now() + 60_000), calm)).toEqual([]);
  });
});

describe('the same key', () => {
  test('gives the same answer and holds the money once', async () => {
    const request = requestOf();
    const first = await provider.authorize(request, calm);
    expect(await provider.authorize(request, calm)).toEqual(first);
    expect(await provider.listOpenAuthorizations(new Date(0), calm)).toHaveLength(1);

    const capture = captureOf(first.reference!, 3_000);
    await provider.capture(capture, calm);
    await provider.capture(capture, calm);
    expect(stripe.intent(first.reference!).amount_received).toBe(3_000);

    const refund = { ...movementOf(first.reference!), amount: 1_000, currency: 'USD' };
    await provider.refund(refund, calm);
    await provider.refund(refund, calm);
    expect(stripe.refunds).toHaveLength(1);
  });

  test('that is in use says so, and gives the answer later', async () => {
    const request = requestOf();
    const release = stripe.hold('/payment_intents');
    const first = provider.authorize(request, calm);
    await eventually('Stripe is at it', () => stripe.requests.length === 1);
    await expect(provider.authorize(request, calm)).rejects.toBeInstanceOf(PaymentInProgress);
    release();
    expect(await provider.authorize(request, calm)).toEqual(await first);
  });

  test('with other parameters is refused for good', async () => {
    const request = requestOf();
    await provider.authorize(request, calm);
    await expect(provider.authorize({ ...request, amount: 1 }, calm)).rejects.toMatchObject(
      refused('not_possible'),
    );
  });

  test('after an answer that never came finds what was done', async () => {
    const request = requestOf();
    stripe.fail('/payment_intents', 'silent_after_effect');
    await expect(provider.authorize(request, calm)).rejects.toEqual(retryable);
    const { reference } = await provider.authorize(request, calm);
    expect(await provider.listOpenAuthorizations(new Date(0), calm)).toHaveLength(1);

    const capture = captureOf(reference!, 4_000);
    stripe.fail('/capture', 'silent_after_effect');
    await expect(provider.capture(capture, calm)).rejects.toEqual(retryable);
    await provider.capture(capture, calm);
    expect(stripe.intent(reference!).amount_received).toBe(4_000);

    const refund = { ...movementOf(reference!), amount: 4_000, currency: 'USD' };
    stripe.fail('/refunds', 'silent_after_effect');
    await expect(provider.refund(refund, calm)).rejects.toEqual(retryable);
    await provider.refund(refund, calm);
    expect(stripe.refunds).toHaveLength(1);

    const release = movementOf(reference!);
    stripe.fail('/capture', 'silent_after_effect');
    await expect(provider.void(release, calm)).rejects.toEqual(retryable);
    await provider.void(release, calm);
    expect(stripe.intent(reference!)).toMatchObject({ status: 'succeeded', amount_received: 4_000 });
  });

  test('after connections that were cut finds what was done', async () => {
    const request = requestOf();
    // stripe-node repeats a cut request once by itself, with the same key.
    stripe.fail('/payment_intents', 'cut_after_effect', 2);
    await expect(provider.authorize(request, calm)).rejects.toEqual(retryable);
    expect(await provider.authorize(request, calm)).toMatchObject({ status: 'authorized' });
    expect(await provider.listOpenAuthorizations(new Date(0), calm)).toHaveLength(1);
  });

  test('after the caller gave up finds what Stripe has done meanwhile', async () => {
    const request = requestOf();
    const release = stripe.hold('/payment_intents');
    const budget = new AbortController();
    const first = provider.authorize(request, budget.signal);
    await eventually('Stripe is at it', () => stripe.requests.length === 1);
    const reason = new Error('Out of time.');
    budget.abort(reason);
    await expect(first).rejects.toBe(reason);
    release();
    const [open] = await eventually('Stripe has gone on', async () => {
      const found = await provider.listOpenAuthorizations(new Date(0), calm);
      return found.length > 0 && found;
    });
    expect(await provider.authorize(request, calm)).toMatchObject({ reference: open!.reference });
    await expect(provider.authorize(request, budget.signal)).rejects.toBe(reason);
  });
});

test.each([429, 500, 503] as const)('an answer of %i is tried again, and leaks nothing', async (status) => {
  stripe.fail('/payment_intents', status);
  const error = await provider.authorize(requestOf(), calm).catch((thrown: unknown) => thrown);
  expect(error).toEqual(retryable);
  expect(error).not.toBeInstanceOf(PaymentInProgress);
  const { message, stack, cause, ...rest } = error as Error;
  expect(message).toContain(String(status));
  expect(JSON.stringify(rest) + stack).not.toMatch(/sk_live|sk_test|pm_card/);
  expect(cause).toBeUndefined();
});

test('a Stripe that cannot be reached is tried again', async () => {
  const nowhere = stripePayments({
    apiKey: API_KEY,
    webhookSecret: WEBHOOK_SECRET,
    apiBase: 'http://127.0.0.1:1',
  });
  await expect(nowhere.authorize(requestOf(), calm)).rejects.toEqual(retryable);
});

describe('captures', () => {
  test('take the money in parts, and the final one gives the rest free', async () => {
    const reference = await authorized();
    await provider.capture(captureOf(reference, 3_000), calm);
    await provider.capture(captureOf(reference, 2_000), calm);
    expect(stripe.intent(reference)).toMatchObject({ status: 'requires_capture', amount_capturable: 5_000 });
    await provider.capture(captureOf(reference, 1_000, true), calm);
    expect(stripe.intent(reference)).toMatchObject({
      status: 'succeeded',
      amount_received: 6_000,
      amount_capturable: 0,
    });
    expect(postsTo('/capture').map(({ params }) => params.final_capture)).toEqual([
      'false',
      'false',
      undefined,
    ]);
  });

  test('of more than is held, after the final one, or after a void are not possible', async () => {
    const reference = await authorized();
    await expect(provider.capture(captureOf(reference, 10_001), calm)).rejects.toMatchObject(
      refused('not_possible'),
    );
    await provider.capture(captureOf(reference, 6_000, true), calm);
    await expect(provider.capture(captureOf(reference, 1), calm)).rejects.toMatchObject(
      refused('not_possible'),
    );

    const voided = await authorized();
    await provider.void(movementOf(voided), calm);
    await expect(provider.capture(captureOf(voided, 1), calm)).rejects.toMatchObject(refused('not_possible'));
    await expect(provider.capture(captureOf('pi_unknown', 1), calm)).rejects.toMatchObject(
      refused('not_possible'),
    );
  });
});

describe('a void', () => {
  test('frees the money, and is done where nothing is held any more', async () => {
    const reference = await authorized();
    await provider.void(movementOf(reference), calm);
    await provider.void(movementOf(reference), calm);
    expect(stripe.intent(reference).status).toBe('canceled');
    expect(postsTo('/cancel')).toHaveLength(1);

    const captured = await authorized();
    await provider.capture(captureOf(captured, 10_000, true), calm);
    await provider.void(movementOf(captured), calm);
    expect(stripe.intent(captured)).toMatchObject({ status: 'succeeded', amount_received: 10_000 });
  });

  test('after captures frees the rest', async () => {
    const reference = await authorized();
    await provider.capture(captureOf(reference, 3_000), calm);
    await provider.void(movementOf(reference), calm);
    expect(stripe.intent(reference)).toMatchObject({
      status: 'succeeded',
      amount_received: 3_000,
      amount_capturable: 0,
    });
  });

  test('ends what the customer has not decided', async () => {
    const { reference } = await provider.authorize(requestOf('pm_card_authenticationRequired'), calm);
    await provider.void(movementOf(reference!), calm);
    expect(stripe.intent(reference!).status).toBe('canceled');
  });
});

test('refunds give back what was captured and no more', async () => {
  const reference = await authorized();
  const refund = (amount: number) =>
    provider.refund({ ...movementOf(reference), amount, currency: 'USD' }, calm);
  await provider.capture(captureOf(reference, 5_000), calm);
  await refund(2_000);
  await expect(refund(3_001)).rejects.toMatchObject(refused('not_possible'));
  await refund(3_000);
  await expect(refund(1)).rejects.toMatchObject(refused('not_possible'));
  expect(stripe.refunds.map(({ amount }) => amount)).toEqual([2_000, 3_000]);
});

describe('an authorization that has expired', () => {
  test('is renewed with the same card, which then is charged again without the customer', async () => {
    const reference = await authorized();
    stripe.expire(reference);
    await expect(provider.capture(captureOf(reference, 1_000), calm)).rejects.toMatchObject(
      refused('authorization_expired'),
    );
    const renewal = requestOf('pm_card_visa', { renews: reference });
    stripe.fail('/attach', 503);
    await expect(provider.authorize(renewal, calm)).rejects.toEqual(retryable);
    stripe.fail('/payment_intents', 'silent_after_effect');
    await expect(provider.authorize(renewal, calm)).rejects.toEqual(retryable);
    const renewed = await provider.authorize(renewal, calm);
    expect(renewed).toMatchObject({ status: 'authorized', multicapture: true });
    expect(stripe.intent(renewed.reference!)).toMatchObject({
      payment_method: stripe.intent(reference).payment_method,
      metadata: { paymentId: renewal.paymentId },
    });
    expect(postsTo('/payment_intents').at(-1)!.params.off_session).toBe('true');
    await provider.capture(captureOf(renewed.reference!, 10_000, true), calm);
    expect(stripe.intent(renewed.reference!).status).toBe('succeeded');

    const again = await provider.authorize(requestOf('pm_card_visa', { renews: renewed.reference }), calm);
    expect(stripe.intent(again.reference!).customer).toBe(stripe.intent(renewed.reference!).customer);
    expect(new Set(postsTo('/customers').map(({ key }) => key)).size).toBe(1);
  });

  test('is not renewed for a caller who gave up before the card was charged', async () => {
    const reference = await authorized();
    stripe.expire(reference);
    const renewal = requestOf('pm_card_visa', { renews: reference });
    const release = stripe.hold('/customers');
    const budget = new AbortController();
    const first = provider.authorize(renewal, budget.signal);
    await eventually('Stripe is at it', () => postsTo('/customers').length === 1);
    budget.abort(new Error('Out of time.'));
    await expect(first).rejects.toThrow('Out of time.');
    release();
    expect(await provider.authorize(renewal, calm)).toMatchObject({ status: 'authorized' });
    expect(postsTo('/payment_intents').filter(({ key }) => key === renewal.idempotencyKey)).toHaveLength(1);
  });

  test('after a part was captured is known as expired too', async () => {
    const reference = await authorized();
    await provider.capture(captureOf(reference, 1_000), calm);
    stripe.expire(reference);
    await expect(provider.capture(captureOf(reference, 1_000), calm)).rejects.toMatchObject(
      refused('authorization_expired'),
    );
    await provider.void(movementOf(reference), calm);
  });
});

describe('a webhook', () => {
  const signed = (body: string, options: { secret?: string; timestamp?: number } = {}) => ({
    'stripe-signature': Stripe.webhooks.generateTestHeaderString({
      payload: body,
      secret: WEBHOOK_SECRET,
      ...options,
    }),
  });
  const read = (body: string, headers = signed(body)) => provider.readWebhook(headers, Buffer.from(body));

  test('tells what became of a payment that the customer had to decide on', async () => {
    const request = requestOf('pm_card_authenticationRequired');
    const { reference } = await provider.authorize(request, calm);
    stripe.act(reference!, true);
    expect(await read(stripe.event('payment_intent.amount_capturable_updated', reference!))).toEqual({
      paymentId: request.paymentId,
      reference,
      status: 'authorized',
      multicapture: true,
    });

    const other = requestOf('pm_card_authenticationRequired');
    const { reference: failing } = await provider.authorize(other, calm);
    stripe.act(failing!, false);
    const failed = { paymentId: other.paymentId, reference: failing, status: 'failed', multicapture: false };
    expect(await read(stripe.event('payment_intent.payment_failed', failing!))).toEqual({
      ...failed,
      detail: 'We are unable to authenticate your payment method.',
    });
    await provider.void(movementOf(failing!), calm);
    expect(await read(stripe.event('payment_intent.canceled', failing!))).toMatchObject(failed);
  });

  test('about a capture, of another type or about a payment of others says nothing', async () => {
    const reference = await authorized();
    expect(await read(stripe.event('payment_intent.created', reference))).toBeUndefined();
    await provider.capture(captureOf(reference, 1_000), calm);
    expect(await read(stripe.event('payment_intent.amount_capturable_updated', reference))).toBeUndefined();

    const foreign = await authorized();
    stripe.intent(foreign).metadata = {};
    expect(await read(stripe.event('payment_intent.amount_capturable_updated', foreign))).toBeUndefined();
    expect(await read(stripe.event('payment_intent.payment_failed', foreign))).toBeUndefined();
  });

  test('is refused with a signature that is wrong, missing or too old', async () => {
    const body = stripe.event('payment_intent.canceled', await authorized());
    const badSignature = { name: 'WebhookRefused', code: 'bad_signature' };
    await expect(read(body, signed(body, { secret: 'whsec_of_another' }))).rejects.toMatchObject(
      badSignature,
    );
    await expect(read(body, signed(`${body} `))).rejects.toMatchObject(badSignature);
    await expect(provider.readWebhook({}, Buffer.from(body))).rejects.toMatchObject(badSignature);
    const sixMinutesAgo = Math.floor(Date.now() / 1000) - 360;
    await expect(read(body, signed(body, { timestamp: sixMinutesAgo }))).rejects.toMatchObject(badSignature);
  });

  test.each(['no JSON', '{}', 'null', '[]'])('that says %s is unreadable', async (body) => {
    const error = await read(body).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WebhookRefused);
    expect(error).toMatchObject({ code: 'unreadable' });
  });

  test('is delivered again when Stripe cannot be asked about it', async () => {
    const reference = await authorized();
    const body = stripe.event('payment_intent.amount_capturable_updated', reference);
    stripe.fail(`/charges/${stripe.intent(reference).latest_charge as string}`, 503);
    await expect(read(body)).rejects.toEqual(retryable);
    expect(await read(body)).toMatchObject({ status: 'authorized' });
  });
});

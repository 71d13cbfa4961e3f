import { Stripe } from 'stripe';
import { WebhookRefused } from '../webhooks/webhook-refused.ts';
import {
  type AuthorizeRequest,
  PaymentInProgress,
  type PaymentProvider,
  PaymentRefused,
  type WebhookHeaders,
} from './provider.ts';

const {
  StripeCardError,
  StripeError,
  StripeIdempotencyError,
  StripeInvalidRequestError,
  StripeSignatureVerificationError,
} = Stripe.errors;

/** ISO 4217 and Stripe count these in different minor units (https://docs.stripe.com/currencies#special-cases). */
const COUNTED_OTHERWISE = new Set(['ISK', 'MGA', 'UGX']);

const UNDECIDED = new Set(['requires_action', 'requires_confirmation', 'processing']);
const UNEXPECTED_STATE = 'payment_intent_unexpected_state';
const EXPIRED = new Set(['charge_expired_for_capture', 'capture_charge_authorization_expired']);

const DECLINED = 'Your card was declined.';
const MAX_LISTED = 1_000;

/**
 * Stripe, with cards: PaymentIntents that are captured by hand (https://docs.stripe.com/payments/capture-later), in
 * several parts where the account and the card allow it (https://docs.stripe.com/payments/multicapture). Webhooks are
 * signed with `webhookSecret` (`whsec_…`). A call that gets no answer within `timeoutMs` fails; callers that mean to
 * see it fail have to wait longer. Stripe knows a key for at least 24 hours.
 */
export function stripePayments({
  apiKey,
  webhookSecret,
  apiBase = 'https://api.stripe.com',
  timeoutMs = 10_000,
}: {
  apiKey: string;
  webhookSecret: string;
  apiBase?: string;
  timeoutMs?: number;
}): PaymentProvider {
  const { protocol, hostname, port } = new URL(apiBase);
  const stripe = new Stripe(apiKey, {
    host: hostname,
    ...(protocol === 'http:' && { protocol: 'http' }),
    ...(port && { port }),
    maxNetworkRetries: 0,
    timeout: timeoutMs,
    telemetry: false,
  });

  /**
   * The card of an authorization that has expired, attached to a customer of Stripe's so that it may be charged again
   * (https://docs.stripe.com/payments/save-during-payment).
   */
  const keptCard = async ({ idempotencyKey, orderId }: AuthorizeRequest, renews: string) => {
    const expired = await stripe.paymentIntents.retrieve(renews, { expand: ['payment_method'] });
    const card = expired.payment_method as Stripe.PaymentMethod | null;
    if (!card) throw new PaymentRefused('not_possible', 'Stripe: the expired payment has no card.');
    if (card.customer) return { payment_method: card.id, customer: idOf(card.customer) };
    const customer = await stripe.customers.create(
      { metadata: { orderId } },
      { idempotencyKey: `${idempotencyKey}-customer` },
    );
    await stripe.paymentMethods.attach(
      card.id,
      { customer: customer.id },
      { idempotencyKey: `${idempotencyKey}-attach` },
    );
    return { payment_method: card.id, customer: customer.id };
  };

  const createIntent = async (request: AuthorizeRequest, signal: AbortSignal) => {
    const { idempotencyKey, paymentId, orderId, orderNumber, amount, currency, token, renews } = request;
    const card =
      renews === undefined
        ? { payment_method: token, setup_future_usage: 'off_session' as const }
        : { ...(await keptCard(request, renews)), off_session: true };
    signal.throwIfAborted();
    return await stripe.paymentIntents.create(
      {
        ...card,
        amount,
        currency: currency.toLowerCase(),
        capture_method: 'manual',
        confirm: true,
        allowed_payment_method_types: ['card'],
        payment_method_options: { card: { request_multicapture: 'if_available' } },
        metadata: { paymentId, orderId, orderNumber },
        expand: ['latest_charge'],
      },
      { idempotencyKey },
    );
  };

  /**
   * Whether an authorization that cannot be captured any more has run out. Stripe cancels one of which nothing was
   * captured, and completes one that was captured in part (https://docs.stripe.com/payments/multicapture).
   */
  const hasExpired = async (reference: string): Promise<boolean> => {
    const intent = await stripe.paymentIntents.retrieve(reference, { expand: ['latest_charge'] });
    if (intent.status === 'canceled') {
      return intent.cancellation_reason === 'automatic' || intent.cancellation_reason === 'expired';
    }
    const until = cardChargeOf(intent)?.capture_before;
    return (
      intent.status === 'succeeded' &&
      intent.amount_received < intent.amount &&
      until !== undefined &&
      until * 1000 <= Date.now()
    );
  };

  return {
    name: 'stripe',
    shared: true,

    authorize: (request, signal) =>
      ask(signal, async () => {
        if (COUNTED_OTHERWISE.has(request.currency)) {
          throw new PaymentRefused(
            'not_possible',
            `Amounts in ${request.currency} cannot be sent to Stripe.`,
          );
        }
        try {
          const intent = await createIntent(request, signal);
          const { id: reference, status } = intent;
          const multicapture = cardChargeOf(intent)?.multicapture?.status === 'available';
          if (status === 'requires_capture') return { status: 'authorized', reference, multicapture };
          if (UNDECIDED.has(status)) return { status: 'processing', reference, multicapture };
          return { status: 'declined', reference, detail: whyDeclined(intent) };
        } catch (error) {
          if (error instanceof StripeCardError) {
            const reference = error.payment_intent?.id;
            return { status: 'declined', ...(reference && { reference }), detail: error.message || DECLINED };
          }
          if (error instanceof StripeInvalidRequestError && error.param === 'payment_method') {
            return { status: 'declined', detail: 'This card token is not known.' };
          }
          throw error;
        }
      }),

    capture: ({ idempotencyKey, reference, amount, final }, signal) =>
      ask(signal, async () => {
        try {
          await stripe.paymentIntents.capture(
            reference,
            // Without multicapture Stripe refuses `final_capture`, and every capture is the final one.
            { amount_to_capture: amount, ...(!final && { final_capture: false }) },
            { idempotencyKey },
          );
        } catch (error) {
          if (codeOf(error) === UNEXPECTED_STATE && (await hasExpired(reference))) {
            throw new PaymentRefused('authorization_expired', 'Stripe: the authorization has expired.');
          }
          throw error;
        }
      }),

    void: ({ idempotencyKey, reference }, signal) =>
      ask(signal, async () => {
        const { status, amount_received } = await stripe.paymentIntents.retrieve(reference);
        if (status === 'canceled' || status === 'succeeded') return;
        signal.throwIfAborted();
        try {
          // What is captured in part is released by capturing nothing more (https://docs.stripe.com/payments/multicapture).
          if (amount_received > 0) {
            const nothingMore = { amount_to_capture: 0, final_capture: true };
            await stripe.paymentIntents.capture(reference, nothingMore, { idempotencyKey });
          } else {
            await stripe.paymentIntents.cancel(reference, {}, { idempotencyKey });
          }
        } catch (error) {
          if (codeOf(error) !== UNEXPECTED_STATE) throw error;
          // oxlint-disable-next-line preserve-caught-error -- Stripe's errors stay out of ours
          throw new Error('Stripe: the payment has changed since it was read.');
        }
      }),

    refund: ({ idempotencyKey, reference, amount }, signal) =>
      ask(signal, async () => {
        const refund = await stripe.refunds.create({ payment_intent: reference, amount }, { idempotencyKey });
        if (refund.status === 'failed' || refund.status === 'canceled') {
          throw new PaymentRefused('not_possible', `Stripe: the refund is ${refund.status}.`);
        }
      }),

    listOpenAuthorizations: (since, signal) =>
      ask(signal, async () => {
        const created = { gte: Math.floor(since.getTime() / 1000) };
        const intents = await stripe.paymentIntents
          .list({ created, limit: 100 })
          .autoPagingToArray({ limit: MAX_LISTED });
        return intents
          .filter(({ status }) => status === 'requires_capture' || UNDECIDED.has(status))
          .toReversed()
          .map(({ id, metadata }) => ({ reference: id, paymentId: metadata.paymentId }));
      }),

    async readWebhook(headers, body) {
      const event = readEvent(webhookSecret, headers, body);
      switch (event.type) {
        case 'payment_intent.amount_capturable_updated': {
          const { id: reference, status, amount_received, latest_charge, metadata } = event.data.object;
          // Stripe tells this of each capture too.
          const authorized = status === 'requires_capture' && amount_received === 0 && latest_charge !== null;
          if (!authorized || metadata.paymentId === undefined) return undefined;
          const charge = await stripe.charges.retrieve(idOf(latest_charge)).catch((error: unknown) => {
            throw explain(error);
          });
          const multicapture = charge.payment_method_details?.card?.multicapture?.status === 'available';
          return { paymentId: metadata.paymentId, reference, status: 'authorized', multicapture };
        }
        case 'payment_intent.payment_failed':
        case 'payment_intent.canceled': {
          const { id: reference, metadata } = event.data.object;
          if (metadata.paymentId === undefined) return undefined;
          const detail = whyDeclined(event.data.object);
          return { paymentId: metadata.paymentId, reference, status: 'failed', multicapture: false, detail };
        }
        default:
          return undefined;
      }
    },
  };
}

/**
 * Asks Stripe, and throws what the provider's interface says of its errors. stripe-node takes no AbortSignal
 * (https://github.com/stripe/stripe-node/issues/2241): whoever aborts waits no longer,
 * while Stripe goes on with what it was sent.
 */
async function ask<T>(signal: AbortSignal, question: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  return await new Promise<T>((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    signal.addEventListener('abort', giveUp, { once: true });
    question()
      .then(resolve, (error: unknown) => reject(explain(error)))
      .finally(() => signal.removeEventListener('abort', giveUp));
  });
}

/** Stripe's errors carry customers, cards and secrets: of them only type, code, status and request id go on. */
function explain(error: unknown): unknown {
  if (!(error instanceof StripeError)) return error;
  const { rawType, type, code, statusCode, requestId } = error;
  const words = `Stripe: ${[rawType ?? type, code, statusCode, requestId].filter(Boolean).join(', ')}.`;
  if (statusCode === 409) return new PaymentInProgress(words);
  if (code !== undefined && EXPIRED.has(code)) return new PaymentRefused('authorization_expired', words);
  const refused = [StripeInvalidRequestError, StripeIdempotencyError, StripeCardError].some(
    (kind) => error instanceof kind,
  );
  return refused ? new PaymentRefused('not_possible', words) : new Error(words);
}

/** The event of a webhook (https://docs.stripe.com/webhooks/signature). Throws a WebhookRefused. */
function readEvent(secret: string, headers: WebhookHeaders, body: Buffer): Stripe.Event {
  try {
    const event = Stripe.webhooks.constructEvent(body, String(headers['stripe-signature'] ?? ''), secret);
    if (event.object === 'event') return event;
  } catch (error) {
    if (error instanceof StripeSignatureVerificationError) {
      throw new WebhookRefused('bad_signature', 'The signature is not right, or too old.');
    }
  }
  throw new WebhookRefused('unreadable', 'The body is not an event of Stripe.');
}

/** Why a payment failed. What Stripe says of a card may be shown to customers (https://docs.stripe.com/api/errors). */
const whyDeclined = ({ last_payment_error }: Stripe.PaymentIntent): string =>
  (last_payment_error?.type === 'card_error' && last_payment_error.message) || DECLINED;

const cardChargeOf = ({ latest_charge }: Stripe.PaymentIntent) =>
  typeof latest_charge === 'object' ? latest_charge?.payment_method_details?.card : undefined;

const codeOf = (error: unknown) => (error instanceof StripeError ? error.code : undefined);

const idOf = (object: string | { id: string }) => (typeof object === 'string' ? object : object.id);

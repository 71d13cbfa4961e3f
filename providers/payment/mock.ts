import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { verifyWebhook } from '../webhooks/standard-webhooks.ts';
import type { MovementAnswer, PaymentBooks } from './mock-books.ts';
import { PaymentInProgress, type PaymentProvider, PaymentRefused } from './provider.ts';

interface Card {
  status: 'authorized' | 'processing' | 'declined';
  detail?: string;
  /** So many calls fail before one is answered. It is the card's trouble, not the company's: no circuit opens. */
  failures?: number;
  answersAfterMs?: number;
  expires?: boolean;
  multicapture?: boolean;
}

/** How the company treats each card token. */
const CARDS = new Map<string, Card>([
  ['tok_ok', { status: 'authorized' }],
  ['tok_declined', { status: 'declined', detail: 'Your card was declined.' }],
  ['tok_insufficient_funds', { status: 'declined', detail: 'Your card has insufficient funds.' }],
  ['tok_async', { status: 'processing' }],
  ['tok_flaky', { status: 'authorized', failures: 2 }],
  ['tok_slow', { status: 'authorized', answersAfterMs: 5_000 }],
  ['tok_expires', { status: 'authorized', expires: true }],
  ['tok_single_capture', { status: 'authorized', multicapture: false }],
]);
const UNKNOWN_CARD: Card = { status: 'declined', detail: 'This card token is not known.' };

const MAX_LISTED = 100;

const paymentWebhook = z.union([
  z.object({
    type: z.enum(['payment.authorized', 'payment.failed']),
    data: z.object({ paymentId: z.guid() }),
  }),
  z.object({ type: z.string().regex(/^(?!payment\.(authorized|failed)$)/) }).transform(() => undefined),
]);

/**
 * A payment company that is not there: it behaves like Stripe, keeps books of its own, and treats a card as its token
 * says (CARDS). Its webhooks follow https://www.standardwebhooks.com and are signed with `webhookSecret` (`whsec_…`):
 * `{"type": "payment.authorized" | "payment.failed", "data": {"paymentId"}}` decides what is processing.
 */
export function mockPayments(company: { books: PaymentBooks; webhookSecret: string }): PaymentProvider {
  const { books, webhookSecret } = company;
  return {
    name: 'mock',
    shared: false,
    async authorize({ paymentId, amount, currency, token, renews }, signal) {
      signal.throwIfAborted();
      const {
        status,
        detail = '',
        failures = 0,
        answersAfterMs = 0,
        ...card
      } = CARDS.get(token) ?? UNKNOWN_CARD;
      const multicapture = card.multicapture ?? true;
      const expires = card.expires === true && renews === undefined;
      const entered = await books.enter({
        paymentId,
        amount,
        currency,
        token,
        status,
        multicapture,
        expires,
      });
      if (!entered.same) throw new PaymentRefused('not_possible', 'This key was used for another payment.');
      if (entered.calls <= failures) throw new PaymentInProgress('This card takes its time. Ask again.');
      if (answersAfterMs > entered.ageMs) await sleep(answersAfterMs - entered.ageMs, undefined, { signal });
      const reference = referenceOf(paymentId);
      return status === 'declined' ? { status, reference, detail } : { status, reference, multicapture };
    },
    async capture({ idempotencyKey, reference, amount, final }, signal) {
      signal.throwIfAborted();
      expectDone(
        await books.capture({ key: idempotencyKey, paymentId: paymentIdOf(reference), amount, final }),
      );
    },
    async void({ idempotencyKey, reference }, signal) {
      signal.throwIfAborted();
      expectDone(await books.void({ key: idempotencyKey, paymentId: paymentIdOf(reference) }));
    },
    async refund({ idempotencyKey, reference, amount }, signal) {
      signal.throwIfAborted();
      expectDone(await books.refund({ key: idempotencyKey, paymentId: paymentIdOf(reference), amount }));
    },
    async listOpenAuthorizations(since, signal) {
      signal.throwIfAborted();
      const open = await books.listOpen(since, MAX_LISTED);
      return open.map((paymentId) => ({ reference: referenceOf(paymentId), paymentId }));
    },
    async readWebhook(headers, body) {
      const said = verifyWebhook(webhookSecret, headers, body, paymentWebhook);
      if (said === undefined) return undefined;
      const { paymentId } = said.data;
      const status = said.type === 'payment.authorized' ? 'authorized' : 'failed';
      const known = await books.decide(paymentId, status);
      return {
        paymentId,
        reference: referenceOf(paymentId),
        status,
        multicapture: known?.multicapture ?? true,
        ...(status === 'failed' && { detail: 'The payment did not go through.' }),
      };
    },
  };
}

const PREFIX = 'mock_';
const referenceOf = (paymentId: string) => `${PREFIX}${paymentId}`;
const paymentIdOf = (reference: string) => reference.slice(PREFIX.length);

function expectDone(answer: MovementAnswer): void {
  if (answer !== 'done') throw new PaymentRefused(answer, `The mock payment company says: ${answer}.`);
}

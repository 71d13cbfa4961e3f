import type { IncomingHttpHeaders } from 'node:http';
import type { Db } from '../db/connect.ts';
import { mockCarrierBooks } from '../db/mock-carrier-books.ts';
import { mockPaymentBooks } from '../db/mock-payment-books.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import type { PaymentOutcome } from '../domain/paying.ts';
import type { CarrierProvider, TrackingNotice } from '../providers/carrier/carrier.ts';
import { mockCarrier } from '../providers/carrier/mock.ts';
import type { CircuitPosition } from '../providers/circuit.ts';
import { guardCarrier, guardPayments } from '../providers/guarded.ts';
import { mockPayments } from '../providers/payment/mock.ts';
import type { PaymentProvider } from '../providers/payment/provider.ts';
import { WebhookRefused } from '../providers/webhooks/webhook-refused.ts';

export interface CompanyOptions {
  PAYMENT_PROVIDER: 'mock' | 'stripe';
  STRIPE_API_KEY?: string | undefined;
  STRIPE_WEBHOOK_SECRET?: string | undefined;
  MOCK_WEBHOOK_SECRET: string;
}

/** The companies outside: who takes the money, and who carries the parcels. */
export interface Companies {
  /** The payment companies by name: the one of new orders, and those that older orders pay through. */
  payments: ReadonlyMap<string, PaymentProvider>;
  carrier: CarrierProvider;
  /** Read a webhook of the company `name`; undefined where it says nothing of interest. Throw domain errors. */
  readPaymentWebhook(
    name: string,
    headers: IncomingHttpHeaders,
    body: Buffer,
  ): Promise<{ paymentId: string; outcome: PaymentOutcome } | undefined>;
  readCarrierWebhook(name: string, headers: IncomingHttpHeaders, body: Buffer): Promise<TrackingNotice>;
}

/** Connects to the companies, each behind a circuit breaker of its own, of which `onCircuit` hears. */
export async function openCompanies(
  db: Db,
  options: CompanyOptions,
  onCircuit: (company: string, state: CircuitPosition) => void,
): Promise<Companies> {
  const { STRIPE_API_KEY: apiKey, STRIPE_WEBHOOK_SECRET: webhookSecret, MOCK_WEBHOOK_SECRET } = options;
  const known: PaymentProvider[] = [];
  if (options.PAYMENT_PROVIDER === 'mock') {
    known.push(mockPayments({ books: mockPaymentBooks(db), webhookSecret: MOCK_WEBHOOK_SECRET }));
  }
  if (apiKey && webhookSecret) {
    // Its library is large; only processes that have a use for it load it.
    const { stripePayments } = await import('../providers/payment/stripe.ts');
    known.push(stripePayments({ apiKey, webhookSecret }));
  }
  const guard = (company: string) => ({
    onStateChange: (state: CircuitPosition) => onCircuit(company, state),
  });
  const payments = new Map(
    known.map((company) => [company.name, guardPayments(company, guard(`payment-${company.name}`))]),
  );
  const carrier = guardCarrier(
    mockCarrier({ books: mockCarrierBooks(db), webhookSecret: MOCK_WEBHOOK_SECRET }),
    guard('carrier-mock'),
  );

  return {
    payments,
    carrier,
    readPaymentWebhook: (name, headers, body) =>
      reading(payments.get(name), async (company) => {
        const notice = await company.readWebhook(headers, body);
        if (!notice) return undefined;
        const { paymentId, status, reference, multicapture, detail } = notice;
        const outcome: PaymentOutcome =
          status === 'authorized'
            ? { status, reference, multicapture }
            : {
                status: 'declined',
                reference,
                detail: detail ?? 'The payment did not go through.',
                told: true,
              };
        return { paymentId, outcome };
      }),
    readCarrierWebhook: (name, headers, body) =>
      reading(name === carrier.name ? carrier : undefined, async (company) =>
        company.readWebhook(headers, body),
      ),
  };
}

/** Lets a company read its webhook, and tells what is wrong with one as the API does. */
async function reading<C, T>(company: C | undefined, read: (company: C) => Promise<T>): Promise<T> {
  if (!company) throw new OrderPlatformError('not_found', 'No such company is configured.');
  try {
    return await read(company);
  } catch (error) {
    if (!(error instanceof WebhookRefused)) throw error;
    throw new OrderPlatformError(
      error.code === 'bad_signature' ? 'invalid_signature' : 'validation_failed',
      error.message,
    );
  }
}

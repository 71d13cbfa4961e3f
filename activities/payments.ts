import type { Db } from '../db/connect.ts';
import { type StepTaken, takeStep } from '../db/order-steps.ts';
import { nextMovement, type PaymentOutcome, settle } from '../domain/paying.ts';
import type { Payment } from '../domain/payments.ts';
import type { OrderRecord } from '../domain/record.ts';
import { type PaymentProvider, PaymentRefused } from '../providers/payment/provider.ts';

/** The log of the process: what an order needs may be done within an activity or before its workflow asks for it. */
export type Log = Record<
  'info' | 'warn' | 'error',
  (message: string, about: Record<string, unknown>) => void
>;

export interface PaymentDeps {
  db: Db;
  /** The payment companies by name: the one of new orders, and those that older orders pay through. */
  payments: ReadonlyMap<string, PaymentProvider>;
  /** How long an order waits for a customer who has to act before it is paid for. */
  paymentTimeoutMs: number;
  /** Who is told of what goes wrong with an order. */
  stockManagerEmail: string;
  log: Log;
}

/** Writes down what a payment company said of a movement; undefined steps are no effect. */
export const settlePayment = (
  { db, paymentTimeoutMs, stockManagerEmail: staffEmail }: Omit<PaymentDeps, 'payments' | 'log'>,
  orderId: string,
  paymentId: string,
  outcome: PaymentOutcome,
  known?: OrderRecord,
): Promise<StepTaken> =>
  takeStep(
    db,
    orderId,
    (order) => {
      const now = Date.now();
      const payBy = new Date(now + paymentTimeoutMs).toISOString();
      return settle(order, paymentId, outcome, new Date(now).toISOString(), { payBy, staffEmail });
    },
    known ? { known } : {},
  );

/**
 * Makes the movements of money that an order has planned, one after the other, with each its own idempotency key.
 * `onStep` hears of every step on the way. Stops with what the company's call threw, or where `signal` ends it; what is
 * left is still planned, and this may be called again, also at once from elsewhere.
 */
export async function moveMoney(
  deps: PaymentDeps,
  order: OrderRecord,
  signal: AbortSignal,
  onStep: (taken: StepTaken) => void,
): Promise<void> {
  let record = order;
  for (let payment = nextMovement(record); payment; payment = nextMovement(record)) {
    const outcome = await move(deps, record, payment, signal);
    const taken = await settlePayment(deps, record.id, payment.id, outcome, record);
    record = taken.record;
    onStep(taken);
  }
}

async function move(
  { payments: companies, log }: Pick<PaymentDeps, 'payments' | 'log'>,
  order: OrderRecord,
  payment: Payment,
  signal: AbortSignal,
): Promise<PaymentOutcome> {
  const company = companies.get(payment.provider);
  if (!company) throw new Error(`No payment company "${payment.provider}" is configured.`);
  const { id: idempotencyKey, amount } = payment;
  const { currency } = order;
  const parent = order.payments.find(({ id }) => id === payment.authorizationId);
  const reference = parent?.reference ?? '';
  try {
    switch (payment.type) {
      case 'authorization':
        return await company.authorize(
          {
            idempotencyKey,
            paymentId: payment.id,
            orderId: order.id,
            orderNumber: order.number,
            amount,
            currency,
            token: order.paymentToken,
            ...(parent && { renews: reference }),
          },
          signal,
        );
      case 'capture':
        await company.capture({ idempotencyKey, reference, amount, currency, final: payment.final }, signal);
        break;
      case 'void':
        await company.void({ idempotencyKey, reference }, signal);
        break;
      case 'refund':
        await company.refund({ idempotencyKey, reference, amount, currency }, signal);
        break;
    }
    return { status: 'moved' };
  } catch (error) {
    if (!(error instanceof PaymentRefused)) throw error;
    // The company's own words stay in the log: customers read the timeline.
    log.warn('A payment company refused', {
      orderId: order.id,
      paymentId: payment.id,
      reason: error.message,
    });
    if (error.code === 'authorization_expired') return { status: 'expired' };
    const detail = 'The payment company refused it.';
    return payment.type === 'authorization' ? { status: 'declined', detail } : { status: 'refused', detail };
  }
}

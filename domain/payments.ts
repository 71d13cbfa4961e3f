import { paymentIdFor } from './ids.ts';
import type { OrderRecord } from './record.ts';

export const PAYMENT_STATUSES = [
  'none',
  'authorized',
  'partially_captured',
  'captured',
  'partially_refunded',
  'refunded',
  'voided',
  'failed',
] as const;
export type PaymentStatus = (typeof PAYMENT_STATUSES)[number];

export const PAYMENT_TYPES = ['authorization', 'capture', 'void', 'refund'] as const;

/**
 * One movement of money. It is written as `pending` in the transaction that makes it necessary, and its id is its
 * idempotency key with the payment company.
 */
export interface Payment {
  id: string;
  type: (typeof PAYMENT_TYPES)[number];
  status: 'pending' | 'succeeded' | 'failed';
  amount: number;
  provider: string;
  /** The company's name for an authorization, once it has one. */
  reference: string | null;
  /** The authorization that is captured, voided or refunded, or that is renewed. */
  authorizationId: string | null;
  /** An authorization: whether it may be captured in parts. */
  multicapture: boolean;
  /** An authorization: the company waits for the customer, and a webhook will say how it ended. */
  awaiting: boolean;
  /** A capture: nothing follows it. */
  final: boolean;
  /** Why money was given back, or why it did not move. */
  reason: string | null;
  returnId: string | null;
  createdAt: string;
}

type NewPayment = Pick<Payment, 'type' | 'amount' | 'authorizationId'> & Partial<Payment>;

/** The next movement of an order, `pending`. Under the order's lock its ordinal gives it an id of its own. */
export const newPayment = (
  order: Pick<OrderRecord, 'id' | 'payments' | 'provider'>,
  at: string,
  payment: NewPayment,
  ahead = 0,
): Payment => ({
  id: paymentIdFor(order.id, order.payments.length + ahead),
  status: 'pending',
  provider: order.provider,
  reference: null,
  multicapture: false,
  awaiting: false,
  final: false,
  reason: null,
  returnId: null,
  createdAt: at,
  ...payment,
});

const sum = (payments: Payment[]): number => payments.reduce((total, { amount }) => total + amount, 0);

const isAlive = ({ status }: Payment): boolean => status !== 'failed';

const latestAuthorization = ({ payments }: OrderRecord): Payment | undefined =>
  payments.findLast(({ type }) => type === 'authorization');

/** How much has been captured; with `planned` also what is going to be. */
const capturedBy = ({ payments }: OrderRecord, planned = false): number =>
  sum(
    payments.filter(
      (payment) =>
        payment.type === 'capture' && (planned ? isAlive(payment) : payment.status === 'succeeded'),
    ),
  );

/** How much can still be given back: what was captured without what was or is going to be refunded. */
export const refundableOf = (order: OrderRecord, planned = false): number =>
  capturedBy(order, planned) -
  sum(order.payments.filter((payment) => payment.type === 'refund' && isAlive(payment)));

/** Where the money of an order stands, read off its movements. */
export function paymentStatusOf(order: OrderRecord): PaymentStatus {
  const { payments, lines } = order;
  const captured = capturedBy(order);
  if (captured > 0) {
    const refunded = sum(payments.filter(({ type, status }) => type === 'refund' && status === 'succeeded'));
    if (refunded > 0) return refunded < captured ? 'partially_refunded' : 'refunded';
    const waived = order.returns.reduce((total, returned) => total + returned.waived, 0);
    const payable = lines.reduce(
      (total, line) => total + line.unitPrice * (line.quantity - line.cancelledQuantity),
      -waived,
    );
    return captured < payable ? 'partially_captured' : 'captured';
  }
  const latest = latestAuthorization(order);
  if (!latest) return 'none';
  const voided = payments.some(
    ({ type, status, authorizationId }) =>
      type === 'void' && status === 'succeeded' && authorizationId === latest.id,
  );
  if (voided) return 'voided';
  return { pending: 'none', failed: 'failed', succeeded: 'authorized' }[latest.status] as PaymentStatus;
}

/** What an order's goods are worth: what is shipped, without what came back before it was charged. */
export const owedFor = ({ lines, returns }: OrderRecord): number =>
  lines.reduce((total, line) => total + line.unitPrice * line.shippedQuantity, 0) -
  returns.reduce((total, { waived }) => total + waived, 0);

/** How much of what is owed nobody has planned to capture yet. */
export const uncharged = (order: OrderRecord): number =>
  Math.max(owedFor(order) - capturedBy(order, true), 0);

/** Whether the money of an order cannot be had: its last authorization failed. */
export const isUnpayable = (order: OrderRecord): boolean => latestAuthorization(order)?.status === 'failed';

/**
 * Money follows goods: the movement that brings the money of an order in line with its units, or undefined. What is
 * shipped is captured, at once where the authorization may be captured in parts, else with the last shipment; what will
 * never be shipped is given free.
 */
export function moneyThatFollows(order: OrderRecord, at: string): Payment | undefined {
  const authorization = latestAuthorization(order);
  if (!authorization || authorization.status === 'failed') return undefined;
  const its = order.payments.filter(
    (payment) => payment.authorizationId === authorization.id && isAlive(payment),
  );
  if (its.some(({ type, final }) => type === 'void' || final)) return undefined;

  const open = order.lines.some((line) => line.reservedQuantity > 0);
  const owed = owedFor(order);
  const held = authorization.amount - sum(its.filter(({ type }) => type === 'capture'));
  const movement = (payment: Pick<Payment, 'type' | 'amount'> & Partial<Payment>) =>
    newPayment(order, at, { authorizationId: authorization.id, ...payment });

  if (!open && owed === 0) return movement({ type: 'void', amount: held });
  if (authorization.status !== 'succeeded') return undefined;
  const due = Math.min(owed - capturedBy(order, true), held);
  if (due > 0) {
    return authorization.multicapture || !open
      ? movement({ type: 'capture', amount: due, final: !open })
      : undefined;
  }
  return !open && held > 0 ? movement({ type: 'void', amount: held }) : undefined;
}

/** The movements that give back `amount`, each from an authorization that was captured so far. */
export function planRefund(
  order: OrderRecord,
  at: string,
  refund: { id?: string; amount: number; reason: string; returnId?: string },
): Payment[] {
  const planned: Payment[] = [];
  let left = refund.amount;
  for (const { id: authorizationId } of order.payments.filter(({ type }) => type === 'authorization')) {
    const its = order.payments.filter((payment) => payment.authorizationId === authorizationId);
    const captured = sum(its.filter((payment) => payment.type === 'capture' && isAlive(payment)));
    const refunded = sum(its.filter((payment) => payment.type === 'refund' && isAlive(payment)));
    const amount = Math.min(left, captured - refunded);
    if (amount <= 0) continue;
    left -= amount;
    planned.push(
      newPayment(
        order,
        at,
        {
          type: 'refund',
          amount,
          authorizationId,
          reason: refund.reason,
          returnId: refund.returnId ?? null,
          ...(refund.id !== undefined && planned.length === 0 && { id: refund.id }),
        },
        planned.length,
      ),
    );
  }
  return planned;
}

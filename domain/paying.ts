import { newPayment, type Payment, planRefund, refundableOf } from './payments.ts';
import { openUnits, type OrderRecord, type Step, unitsBySku } from './record.ts';
import { returnMessage } from './returns.ts';
import { OrderPlatformError } from './errors.ts';
import { isLegal } from './states.ts';

/** What became of a movement of money, as the payment company answered or told by webhook. */
export type PaymentOutcome =
  | { status: 'authorized' | 'processing'; reference: string; multicapture: boolean }
  | { status: 'declined'; reference?: string | undefined; detail: string }
  | { status: 'moved' }
  | { status: 'expired' }
  | { status: 'refused'; detail: string };

/** The first movement that waits to be made: they are made one after the other. Undefined where none does. */
export const nextMovement = ({ payments }: OrderRecord): Payment | undefined =>
  payments.find(({ status, awaiting }) => status === 'pending' && !awaiting);

/**
 * Writes down what became of a movement, and what the order makes of it: authorized confirms it, declined rejects it.
 * Undefined where that is known already. `payBy` is until when an order waits whose customer has to act first.
 */
export function settle(
  order: OrderRecord,
  paymentId: string,
  outcome: PaymentOutcome,
  at: string,
  payBy: string,
): Step | undefined {
  const payment = order.payments.find(({ id }) => id === paymentId);
  if (!payment) throw new OrderPlatformError('not_found', 'The order has no such payment.');
  if (payment.type === 'authorization') return settleAuthorization(order, payment, outcome, at, payBy);
  if (payment.status !== 'pending') return undefined;
  if (outcome.status === 'moved') return settleMovement(order, payment, at);
  if (outcome.status === 'expired') {
    return payment.type === 'capture' ? renew(order, payment, at) : settleMovement(order, payment, at);
  }
  if (outcome.status === 'refused') {
    return step(at, { ...payment, status: 'failed', reason: outcome.detail }, [
      { type: 'payment.failed', data: { ...dataOf(payment), detail: outcome.detail } },
    ]);
  }
  throw new Error(`A ${payment.type} cannot be ${outcome.status}.`);
}

function settleAuthorization(
  order: OrderRecord,
  payment: Payment,
  outcome: PaymentOutcome,
  at: string,
  payBy: string,
): Step | undefined {
  if (outcome.status === 'authorized') {
    if (payment.status === 'succeeded') return undefined;
    const { reference, multicapture } = outcome;
    const confirms = isLegal('confirm', order.status);
    return {
      ...step(at, { ...payment, status: 'succeeded', awaiting: false, reference, multicapture }, [
        { type: 'payment.authorized', data: dataOf(payment) },
        ...(confirms ? [{ type: 'order.confirmed' }] : []),
      ]),
      ...(confirms && {
        set: { status: 'confirmed' },
        messages: [{ event: 'order.confirmed', template: 'order-confirmed', to: 'customer' }],
      }),
    };
  }
  if (payment.status !== 'pending') return undefined;
  if (outcome.status === 'processing') {
    if (payment.awaiting) return undefined;
    const { reference, multicapture } = outcome;
    return {
      ...step(at, { ...payment, awaiting: true, reference, multicapture }, [
        { type: 'payment.awaited', data: dataOf(payment) },
      ]),
      ...(isLegal('await_payment', order.status) && { set: { status: 'awaiting_payment', payBy } }),
    };
  }
  const detail = 'detail' in outcome ? outcome.detail : 'The payment was not possible.';
  const reference = 'reference' in outcome ? (outcome.reference ?? payment.reference) : payment.reference;
  const nothingHeld = order.payments
    .filter(({ status, authorizationId }) => status === 'pending' && authorizationId === payment.id)
    .map((moot): Payment => ({ ...moot, status: 'failed', reason: 'Nothing was held.' }));
  const failed: Step = {
    ...step(at, payment, [{ type: 'payment.failed', data: { ...dataOf(payment), detail } }]),
    payments: [{ ...payment, status: 'failed', awaiting: false, reference, reason: detail }, ...nothingHeld],
  };
  if (!isLegal('reject', order.status)) return failed;
  const of = openUnits(order);
  const rejection = { code: 'payment_declined' as const, detail };
  return {
    ...failed,
    set: { status: 'rejected', rejection },
    units: { fate: 'rejected', of },
    events: [
      ...failed.events,
      { type: 'stock.released', data: { items: unitsBySku(order, of) } },
      { type: 'order.rejected', data: { ...rejection } },
    ],
    messages: [{ event: 'order.rejected', template: 'payment-failed', to: 'customer' }],
  };
}

function settleMovement(order: OrderRecord, payment: Payment, at: string): Step {
  const past = { capture: 'captured', void: 'voided', refund: 'refunded', authorization: 'authorized' };
  const moved = step(at, { ...payment, status: 'succeeded' }, [
    { type: `payment.${past[payment.type]}`, data: dataOf(payment) },
  ]);
  const undecided = order.payments.find(
    ({ id, status }) => payment.type === 'void' && id === payment.authorizationId && status === 'pending',
  );
  if (undecided) {
    const reason = 'It was voided before it was authorized.';
    moved.payments!.push({ ...undecided, status: 'failed', awaiting: false, reason });
  }
  const { returnId } = payment;
  const others = order.payments.some(
    ({ id, returnId: its, status }) => id !== payment.id && its === returnId && status === 'pending',
  );
  const returned = order.returns.find(({ id, status }) => id === returnId && status === 'received');
  if (!returned || others) return moved;
  return {
    ...moved,
    returns: [{ ...returned, status: 'refunded', updatedAt: at }],
    events: [...moved.events, { type: 'return.refunded', data: { returnId } }],
    messages: [returnMessage(returned.id, 'refunded')],
  };
}

/** An authorization that ran out before its capture is asked for again, for what is shipped or still to be. */
function renew(order: OrderRecord, payment: Payment, at: string): Step {
  const captured = order.payments
    .filter(({ type, status }) => type === 'capture' && status === 'succeeded')
    .reduce((sum, { amount }) => sum + amount, 0);
  const wanted = order.lines.reduce(
    (sum, line) => sum + line.unitPrice * (line.reservedQuantity + line.shippedQuantity),
    0,
  );
  const reason = 'The authorization had expired.';
  const renewal = newPayment(order, at, {
    type: 'authorization',
    amount: wanted - captured,
    authorizationId: payment.authorizationId,
  });
  return {
    ...step(at, { ...payment, status: 'failed', reason }, [
      { type: 'payment.expired', data: dataOf(payment) },
    ]),
    payments: [{ ...payment, status: 'failed', reason }, renewal],
  };
}

export interface RefundCommand {
  refundId: string;
  amount: number;
  reason: string;
  by: string;
  at: string;
}

/**
 * Plans to give back a part of what was captured. Undefined where this very refund was planned before; throws
 * `refund_exceeds_captured`.
 */
export function refund(order: OrderRecord, command: RefundCommand): Step | undefined {
  const { refundId, amount, reason, by, at } = command;
  if (order.payments.some(({ id }) => id === refundId)) return undefined;
  const refundable = refundableOf(order);
  if (amount > refundable) {
    throw new OrderPlatformError(
      'refund_exceeds_captured',
      refundable === 0 ? 'There is nothing to refund.' : `At most ${refundable} can be refunded.`,
      { extra: { currentStatus: order.status, refundable } },
    );
  }
  return {
    by,
    at,
    payments: planRefund(order, at, { id: refundId, amount, reason }),
    events: [{ type: 'refund.requested', data: { paymentId: refundId, amount, reason } }],
  };
}

const dataOf = ({ id, amount, type }: Payment) => ({ paymentId: id, type, amount });

const step = (at: string, payment: Payment, events: Step['events']): Step => ({
  by: 'system',
  at,
  payments: [payment],
  events,
});

import { newPayment, owedFor, type Payment, planRefund, refundableOf } from './payments.ts';
import { type Message, openUnits, type OrderRecord, type Step, unitsBySku } from './record.ts';
import { returnMessage } from './returns.ts';
import { OrderPlatformError } from './errors.ts';
import { isFinal, isLegal } from './states.ts';

/** What became of a movement of money, as the payment company answered or told by webhook. */
export type PaymentOutcome =
  | { status: 'authorized' | 'processing'; reference: string; multicapture: boolean }
  | {
      status: 'declined';
      reference?: string | undefined;
      detail: string;
      /** It was told by webhook, and not answered to our own call. */
      told?: true;
    }
  | { status: 'moved' }
  | { status: 'expired' }
  | { status: 'refused'; detail: string };

/** The first movement that waits to be made: they are made one after the other. Undefined where none does. */
export const nextMovement = ({ payments }: OrderRecord): Payment | undefined =>
  payments.find(({ status, awaiting }) => status === 'pending' && !awaiting);

interface SettleOptions {
  /** Until when an order waits whose customer has to act first. */
  payBy: string;
  /** Who is told of money that does not move. */
  staffEmail: string;
}

/**
 * Writes down what became of a movement, and what the order makes of it: authorized confirms it, declined rejects it.
 * Undefined where that is known already; throws `invalid_transition` for an outcome that such a movement cannot have.
 */
export function settle(
  order: OrderRecord,
  paymentId: string,
  outcome: PaymentOutcome,
  at: string,
  { payBy, staffEmail }: SettleOptions,
): Step | undefined {
  const payment = order.payments.find(({ id }) => id === paymentId);
  if (!payment) throw new OrderPlatformError('not_found', 'The order has no such payment.');
  if (payment.type === 'authorization') {
    return settleAuthorization(order, payment, outcome, at, { payBy, staffEmail });
  }
  if (payment.status !== 'pending') return undefined;
  if (outcome.status === 'moved') return settleMovement(order, payment, at);
  if (outcome.status === 'expired' && payment.type === 'capture') return renew(order, payment, at);
  if (outcome.status === 'expired' && payment.type === 'void') return settleMovement(order, payment, at);
  if (outcome.status === 'expired' || outcome.status === 'refused') {
    const detail = 'detail' in outcome ? outcome.detail : 'The authorization has expired.';
    const failed = { ...payment, status: 'failed' as const, reason: detail };
    const nothingHeld = order.payments.some(
      ({ id, status }) => payment.type === 'void' && id === payment.authorizationId && status === 'failed',
    );
    if (nothingHeld) return step(at, { ...failed, reason: 'Nothing was held.' }, []);
    return {
      ...step(at, failed, [{ type: 'payment.failed', data: { ...dataOf(payment), detail } }]),
      messages: [alarm(order, payment, detail, staffEmail)],
    };
  }
  throw new OrderPlatformError('invalid_transition', `A ${payment.type} cannot be ${outcome.status}.`);
}

/** What the staff is told where money does not move and nobody will try again. */
const alarm = (order: OrderRecord, { id, type }: Payment, detail: string, email: string): Message => ({
  event: 'payment.failed',
  of: id,
  template: 'message',
  to: { email },
  variables: {
    subject: `The ${type} of order ${order.number} failed`,
    text: `The ${type} of order ${order.number}, which is ${order.status.replaceAll('_', ' ')}, failed: ${detail}`,
  },
});

function settleAuthorization(
  order: OrderRecord,
  payment: Payment,
  outcome: PaymentOutcome,
  at: string,
  { payBy, staffEmail }: SettleOptions,
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
  // Told while our own call has no answer: the company may hold the money all the same.
  const doubtful = 'told' in outcome && outcome.told && !payment.awaiting && reference !== null;
  const waiting = order.payments.filter(
    ({ status, authorizationId }) => status === 'pending' && authorizationId === payment.id,
  );
  const moot = doubtful
    ? []
    : waiting.map((one): Payment => ({ ...one, status: 'failed', reason: 'Nothing was held.' }));
  const release =
    doubtful && waiting.length === 0
      ? [newPayment(order, at, { type: 'void', amount: payment.amount, authorizationId: payment.id })]
      : [];
  const failed: Step = {
    ...step(at, payment, [{ type: 'payment.failed', data: { ...dataOf(payment), detail } }]),
    payments: [
      { ...payment, status: 'failed', awaiting: false, reference, reason: detail },
      ...moot,
      ...release,
    ],
  };
  if (!isLegal('reject', order.status)) {
    return isFinal(order.status) && order.status !== 'delivered'
      ? failed
      : { ...failed, messages: [alarm(order, payment, detail, staffEmail)] };
  }
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

/**
 * An authorization that ran out before its capture is asked for again, once, for what is shipped or still to be. What
 * else was planned on it is moot; what came back meanwhile was never charged.
 */
function renew(order: OrderRecord, payment: Payment, at: string): Step {
  const reason = 'The authorization had expired.';
  const its = order.payments.filter(({ authorizationId }) => authorizationId === payment.authorizationId);
  let refundable = 0;
  for (const { type, status, amount } of its) {
    if (status !== 'succeeded') continue;
    if (type === 'capture') refundable += amount;
    if (type === 'refund') refundable -= amount;
  }
  const moot = its.filter(({ type, status, amount }) => {
    if (status !== 'pending' || type === 'authorization') return false;
    if (type !== 'refund' || amount > refundable) return true;
    refundable -= amount;
    return false;
  });
  const returns = order.returns.flatMap((returned) => {
    const unpaid = moot.filter(({ returnId }) => returnId === returned.id);
    const waived = unpaid.reduce((sum, { amount }) => sum + amount, returned.waived);
    const status = returned.status === 'received' ? ('refunded' as const) : returned.status;
    return unpaid.length === 0 ? [] : [{ ...returned, status, waived, updatedAt: at }];
  });
  const after = {
    ...order,
    returns: order.returns.map((one) => returns.find(({ id }) => id === one.id) ?? one),
  };
  const captured = order.payments
    .filter(({ type, status }) => type === 'capture' && status === 'succeeded')
    .reduce((sum, { amount }) => sum + amount, 0);
  const wanted =
    order.lines.reduce((sum, line) => sum + line.unitPrice * line.reservedQuantity, 0) +
    owedFor(after) -
    captured;
  const { authorizationId } = payment;
  const renewal =
    wanted > 0 ? [newPayment(order, at, { type: 'authorization', amount: wanted, authorizationId })] : [];
  return {
    ...step(at, payment, [{ type: 'payment.expired', data: dataOf(payment) }]),
    payments: [...moot.map((one): Payment => ({ ...one, status: 'failed', reason })), ...renewal],
    returns,
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

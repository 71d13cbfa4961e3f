import { OrderPlatformError } from './errors.ts';
import type { LineUnits } from './order.ts';
import { planRefund, refundableOf, uncharged } from './payments.ts';
import { chooseUnits, type OrderRecord, type Step, unitsBySku } from './record.ts';

export const RETURN_STATUSES = ['requested', 'approved', 'rejected', 'received', 'refunded'] as const;
export type ReturnStatus = (typeof RETURN_STATUSES)[number];

/** Units that come back after they were delivered. */
export interface Return {
  id: string;
  orderId: string;
  status: ReturnStatus;
  lines: LineUnits[];
  reason: string;
  /** What its units are worth and was never charged, so that there is nothing to give back. */
  waived: number;
  createdAt: string;
  updatedAt: string;
}

/** Which status each command on a return needs, and leads to. */
export const RETURN_TRANSITIONS = {
  approve: { from: 'requested', to: 'approved' },
  reject: { from: 'requested', to: 'rejected' },
  receive: { from: 'approved', to: 'received' },
} as const satisfies Record<string, { from: ReturnStatus; to: ReturnStatus }>;
export type ReturnCommand = keyof typeof RETURN_TRANSITIONS;

/** The workflow ID of a return. */
export const returnWorkflowId = (returnId: string): string => `return-${returnId}`;

/** A return in one of these statuses changes no more. */
export const isReturnFinal = (status: ReturnStatus): boolean =>
  status === 'rejected' || status === 'refunded';

/**
 * In one of these statuses the workflow of a return has nothing to wait for. One that is received and not refunded by
 * then waits for the staff, which was told.
 */
export const isReturnSeenTo = (status: ReturnStatus): boolean =>
  isReturnFinal(status) || status === 'received';

export interface ReturnRequest {
  returnId: string;
  lines: LineUnits[];
  reason: string;
  by: string;
  at: string;
}

/**
 * Asks for a return of delivered units. Undefined where it was asked for before; throws `invalid_transition` where
 * nothing is delivered yet, and `not_enough_units` for more than was delivered over all returns that were not rejected.
 */
export function requestReturn(order: OrderRecord, request: ReturnRequest): Step | undefined {
  if (order.returns.some(({ id }) => id === request.returnId)) return undefined;
  const returnable = deliveredAndNotReturned(order);
  if (!order.shipments.some(({ status }) => status === 'delivered')) {
    throw new OrderPlatformError('invalid_transition', 'Nothing of this order is delivered yet.', {
      extra: { currentStatus: order.status },
    });
  }
  const lines = chooseUnits(order, request.lines, returnable);
  return {
    by: request.by,
    at: request.at,
    returns: [
      {
        id: request.returnId,
        orderId: order.id,
        status: 'requested',
        lines,
        reason: request.reason,
        waived: 0,
        createdAt: request.at,
        updatedAt: request.at,
      },
    ],
    events: [
      {
        type: 'return.requested',
        data: { returnId: request.returnId, items: unitsBySku(order, lines), reason: request.reason },
      },
    ],
    messages: [returnMessage(request.returnId, 'requested')],
  };
}

function deliveredAndNotReturned({ lines, shipments, returns }: OrderRecord): LineUnits[] {
  const unitsOf = (lineId: string, holders: { lines: LineUnits[] }[]) =>
    holders
      .flatMap((holder) => holder.lines)
      .filter((units) => units.lineId === lineId)
      .reduce((sum, { quantity }) => sum + quantity, 0);
  const delivered = shipments.filter(({ status }) => status === 'delivered');
  const alive = returns.filter(({ status }) => status !== 'rejected');
  return lines
    .map(({ id }) => ({ lineId: id, quantity: unitsOf(id, delivered) - unitsOf(id, alive) }))
    .filter(({ quantity }) => quantity > 0);
}

export interface AdvanceCommand {
  returnId: string;
  command: ReturnCommand;
  /** Makes it one that happens once, however far the return is when it comes again. */
  commandId?: string | undefined;
  by: string;
  at: string;
}

/**
 * Takes a return one step on. Receiving puts its units back into stock and plans their refund. Undefined where that
 * step was taken before; throws `invalid_transition` with the return's `currentStatus` where it is illegal.
 */
export function advanceReturn(
  order: OrderRecord,
  { returnId, command, commandId, by, at }: AdvanceCommand,
): Step | undefined {
  const it = order.returns.find(({ id }) => id === returnId);
  if (!it) throw new OrderPlatformError('not_found', 'There is no such return.');
  const { from, to } = RETURN_TRANSITIONS[command];
  if (it.status === to || (command === 'receive' && it.status === 'refunded')) return undefined;
  if (it.status !== from) {
    throw new OrderPlatformError(
      'invalid_transition',
      `A return that is ${it.status} cannot be "${command}"d.`,
      {
        extra: { currentStatus: it.status },
      },
    );
  }
  const received = command === 'receive';
  const worth = received ? worthOf(order, it.lines) : 0;
  const amount = Math.min(worth, refundableOf(order, true));
  const waived = Math.min(worth - amount, uncharged(order));
  const refunds = amount > 0 ? planRefund(order, at, { amount, reason: it.reason, returnId }) : [];
  const owesNothing = received && refunds.length === 0;
  return {
    by,
    at,
    commandId,
    returns: [{ ...it, status: owesNothing ? 'refunded' : to, waived, updatedAt: at }],
    ...(received && { units: { fate: 'returned' as const, of: it.lines } }),
    ...(refunds.length > 0 && { payments: refunds }),
    events: [
      { type: `return.${to}`, data: { returnId, ...(received && { items: unitsBySku(order, it.lines) }) } },
      ...(owesNothing ? [{ type: 'return.refunded' as const, data: { returnId } }] : []),
    ],
    messages: [returnMessage(returnId, to), ...(owesNothing ? [returnMessage(returnId, 'refunded')] : [])],
  };
}

const worthOf = ({ lines }: OrderRecord, units: LineUnits[]): number =>
  units.reduce(
    (sum, { lineId, quantity }) => sum + quantity * (lines.find(({ id }) => id === lineId)?.unitPrice ?? 0),
    0,
  );

/** What the customer is told of a return. */
export const returnMessage = (returnId: string, status: ReturnStatus) => ({
  event: `return.${status}`,
  of: returnId,
  template: 'return-updated',
  to: 'customer' as const,
  variables: { returnStatus: status },
});

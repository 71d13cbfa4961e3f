import type { Cancellation, LineUnits } from './order.ts';
import { chooseUnits, openUnits, type OrderRecord, type Step, unitsBySku } from './record.ts';
import { assertLegal } from './states.ts';

export interface CancelCommand extends Cancellation {
  /** Single units; without them every unit that is not shipped. */
  lines?: LineUnits[] | undefined;
  /** Makes the cancelling of single units one that happens once. */
  commandId?: string | undefined;
}

/**
 * Cancels units that are not shipped: their stock is released, and what they would have cost is given free. Undefined
 * where nothing is left to do because it was cancelled before; throws `already_shipped` where all was shipped,
 * `invalid_transition`, and `not_enough_units`.
 */
export function cancel(order: OrderRecord, command: CancelCommand): Step | undefined {
  const { reason, by, at, lines, commandId } = command;
  if (order.cancellation && !lines) return undefined;
  assertLegal('cancel', order.status);

  const open = openUnits(order);
  const of = chooseUnits(order, lines, open);
  const whole = count(of) === count(open);
  const nothingIsSent = whole && order.shipments.length === 0;
  return {
    by,
    at,
    commandId,
    set: { ...(whole && { cancellation: { reason, by, at } }) },
    units: { fate: 'cancelled', of },
    events: [
      { type: 'order.cancelled', data: { reason, ...(!whole && { items: unitsBySku(order, of) }) } },
      { type: 'stock.released', actor: 'system', data: { items: unitsBySku(order, of) } },
    ],
    messages: [
      {
        event: 'order.cancelled',
        ...(!whole && { of: commandId ?? at }),
        template: 'order-cancelled',
        to: 'customer',
        ...(!nothingIsSent && { variables: { units: namesOf(order, of), reason } }),
      },
    ],
  };
}

/** Gives up on a payment that did not come in time. Undefined where the order waits for none. */
export function expirePayment(order: OrderRecord, at: string): Step | undefined {
  if (order.status !== 'awaiting_payment') return undefined;
  const step = cancel(order, { reason: 'payment_timeout', by: 'system', at });
  return (
    step && { ...step, messages: [{ event: 'order.cancelled', template: 'payment-failed', to: 'customer' }] }
  );
}

const count = (units: LineUnits[]): number => units.reduce((sum, { quantity }) => sum + quantity, 0);

const namesOf = (order: OrderRecord, units: LineUnits[]) =>
  units.map(({ lineId, quantity }) => ({
    quantity,
    name: order.lines.find(({ id }) => id === lineId)?.name ?? '',
  }));

import type { Address, OrderChange } from './order.ts';
import type { OrderRecord, Step } from './record.ts';
import { assertLegal } from './states.ts';

/**
 * Changes the shipping address or the note of an order that is not shipped. Undefined where all of it is so already;
 * throws `invalid_transition`.
 */
export function change(
  order: OrderRecord,
  { shippingAddress, note }: OrderChange,
  by: string,
  at: string,
): Step | undefined {
  const moves = shippingAddress !== undefined && !sameFields(shippingAddress, order.shippingAddress);
  const renoted = note !== undefined && (note || undefined) !== order.note;
  if (!moves && !renoted) return undefined;
  assertLegal('change', order.status);
  return {
    by,
    at,
    set: { ...(moves && { shippingAddress }), ...(renoted && { note }) },
    events: moves ? [{ type: 'address.changed' }] : [],
  };
}

const sameFields = (left: Address, right: Address): boolean =>
  Object.keys({ ...left, ...right }).every(
    (field) => left[field as keyof Address] === right[field as keyof Address],
  );

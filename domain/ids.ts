import { v5 as uuidv5 } from 'uuid';
import type { Channel } from './notifications.ts';

const NAMESPACE = '5f0c7c4e-6a35-4bb6-9d0e-3c9f2b1d7a10';

/** Crockford's base 32: no I, L, O, U, so that a number can be read out on the phone. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/**
 * The id of the order that `caller` asks for with `idempotencyKey` at `route`. The same three always give the
 * same id, so a request that is raced or repeated after any crash means the same order and the same workflow.
 */
export const orderIdFor = (caller: string, route: string, idempotencyKey: string): string =>
  uuidv5(`order:${caller}:${route}:${idempotencyKey}`, NAMESPACE);

/** The id of an order's line for `sku`. */
export const lineIdFor = (orderId: string, sku: string): string =>
  uuidv5(`line:${orderId}:${sku}`, NAMESPACE);

/** The id of an order's movement of money number `ordinal`, from 0; it is the movement's idempotency key. */
export const paymentIdFor = (orderId: string, ordinal: number): string =>
  uuidv5(`payment:${orderId}:${ordinal}`, NAMESPACE);

/** The id of what `caller` makes for an order with `idempotencyKey` at `route`: a shipment, a return, a refund. */
export const commandIdFor = (caller: string, route: string, idempotencyKey: string): string =>
  uuidv5(`command:${caller}:${route}:${idempotencyKey}`, NAMESPACE);

/** The id of the one notification that tells `event` of an order over `channel`. */
export const notificationIdFor = (orderId: string, event: string, channel: Channel): string =>
  uuidv5(`notification:${orderId}:${event}:${channel}`, NAMESPACE);

/** The id of the one cart of a customer, or of the visitor whose token has this hash. */
export const cartIdFor = (kind: 'customer' | 'visitor', owner: string): string =>
  uuidv5(`cart:${kind}:${owner}`, NAMESPACE);

/** The ids of the notifications that tell `event` of an order, by channel. */
export const notificationIdsFor = (orderId: string, event: string): Record<Channel, string> => ({
  email: notificationIdFor(orderId, event, 'email'),
  sms: notificationIdFor(orderId, event, 'sms'),
  push: notificationIdFor(orderId, event, 'push'),
});

/** The id of the one delivery of an event to a webhook endpoint; `event` tells it from all others. */
export const deliveryIdFor = (endpointId: string, event: string): string =>
  uuidv5(`delivery:${endpointId}:${event}`, NAMESPACE);

/**
 * The short number people say for an order: 10 characters (50 bits) of its id, as `XXXXX-XXXXX`, or 12 (60 bits)
 * for the order whose short number is taken.
 */
export function orderNumber(orderId: string, characters: 10 | 12 = 10): string {
  const hex = orderId.replaceAll('-', '');
  let bits = BigInt(`0x${hex.slice(0, 12)}${hex.slice(13, 16)}`);
  let number = '';
  for (let index = 0; index < 12; index += 1) {
    number = ALPHABET.charAt(Number(bits & 31n)) + number;
    bits >>= 5n;
  }
  return `${number.slice(0, characters / 2)}-${number.slice(characters / 2, characters)}`;
}

/** How the id of the order with this number begins: its first 48 bits, `xxxxxxxx-xxxx`. */
export function orderIdPrefix(number: string): string {
  let bits = 0n;
  for (const character of number.replace('-', '').slice(0, 10)) {
    bits = (bits << 5n) | BigInt(ALPHABET.indexOf(character));
  }
  const hex = (bits >> 2n).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}`;
}

import { OrderPlatformError } from './errors.ts';
import type { Address, LineUnits, OrderChange } from './order.ts';
import type { PaymentOutcome } from './paying.ts';

/**
 * Requests as HTTP takes them and as an operator may type them into an update of a workflow. Plain code, because
 * workflows carry no validation library. All of them throw `validation_failed` with what is wrong, in words.
 */

const invalid = (detail: string) => new OrderPlatformError('validation_failed', detail);

const ADDRESS_FIELDS: Record<keyof Address, { max: number; required: boolean }> = {
  name: { max: 200, required: true },
  line1: { max: 200, required: true },
  line2: { max: 200, required: false },
  city: { max: 100, required: true },
  region: { max: 100, required: false },
  postalCode: { max: 20, required: true },
  country: { max: 2, required: true },
};
const MAX_NOTE = 2000;
const MAX_NAME = 100;
const MAX_REFERENCE = 255;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** What somebody wants to change. */
export function readOrderChange(input: unknown): OrderChange {
  if (!isRecord(input)) throw invalid('Say what to change: {"shippingAddress": {...}, "note": "..."}.');
  const { shippingAddress, note } = input;
  if (shippingAddress === undefined && note === undefined) {
    throw invalid('Name a shippingAddress, a note, or both.');
  }
  if (note !== undefined && note !== null && !isText(note, MAX_NOTE, /[\n\r\t]/g)) {
    throw invalid(`The note is text of at most ${MAX_NOTE} characters.`);
  }
  if (shippingAddress === undefined) return { note };
  if (!isRecord(shippingAddress)) throw invalid('The shippingAddress is not an address.');
  for (const field of Object.keys(shippingAddress)) {
    if (!Object.hasOwn(ADDRESS_FIELDS, field)) throw invalid(`An address has no "${field}".`);
  }
  for (const [field, { max, required }] of Object.entries(ADDRESS_FIELDS)) {
    const value = shippingAddress[field];
    if (value === undefined && !required) continue;
    if (!isText(value, max) || value.trim() === '') {
      throw invalid(`The address needs a "${field}" of at most ${max} characters.`);
    }
  }
  if (!/^[A-Z]{2}$/.test(String(shippingAddress.country))) {
    throw invalid('The country is an ISO 3166-1 code of two capital letters.');
  }
  return { shippingAddress: shippingAddress as unknown as Address, ...(note !== undefined && { note }) };
}

/** The `lines` of a request; undefined where it names none, which means all. */
export function readUnits(input: unknown): LineUnits[] | undefined {
  const { lines } = isRecord(input) ? input : {};
  if (lines === undefined) return undefined;
  if (!Array.isArray(lines) || lines.length === 0 || lines.length > 100) {
    throw invalid('The lines are a list: [{"lineId": "...", "quantity": 1}].');
  }
  return lines.map((line: unknown) => {
    const { lineId, quantity } = isRecord(line) ? line : {};
    if (typeof lineId !== 'string' || !UUID.test(lineId)) throw invalid('A line needs its "lineId".');
    if (!Number.isInteger(quantity) || Number(quantity) < 1 || Number(quantity) > 10_000) {
      throw invalid('A line needs a "quantity" from 1 to 10000.');
    }
    return { lineId: lineId.toLowerCase(), quantity: Number(quantity) };
  });
}

/** What to ship, and with whom. */
export function readShipment(input: unknown): {
  carrier: string;
  trackingNumber?: string;
  lines?: LineUnits[];
} {
  const { carrier, trackingNumber } = isRecord(input) ? input : {};
  if (!isText(carrier, MAX_NAME) || carrier.trim() === '') {
    throw invalid('Name the carrier: {"carrier": "UPS", "trackingNumber": "..."}.');
  }
  if (trackingNumber !== undefined && (!isText(trackingNumber, MAX_NAME) || trackingNumber.trim() === '')) {
    throw invalid(`The trackingNumber is text of at most ${MAX_NAME} characters.`);
  }
  const lines = readUnits(input);
  return {
    carrier: carrier.trim(),
    ...(trackingNumber !== undefined && { trackingNumber: trackingNumber.trim() }),
    ...(lines && { lines }),
  };
}

/** The id that a request gives under `name`; undefined where it gives none. */
export function readId(input: unknown, name: 'shipmentId' | 'commandId'): string | undefined {
  const { [name]: id } = isRecord(input) ? input : {};
  if (id === undefined) return undefined;
  if (typeof id !== 'string' || !UUID.test(id)) throw invalid(`The ${name} is a UUID.`);
  return id.toLowerCase();
}

/** What a payment company told of an authorization. */
export function readPaymentNews(input: unknown): { paymentId: string; outcome: PaymentOutcome } {
  const { paymentId, outcome } = isRecord(input) ? input : {};
  const { status, reference, multicapture, detail } = isRecord(outcome) ? outcome : {};
  if (typeof paymentId !== 'string' || !UUID.test(paymentId)) throw invalid('Name the paymentId.');
  const named = isText(reference, MAX_REFERENCE);
  if (status === 'authorized' && named && typeof multicapture === 'boolean') {
    return { paymentId, outcome: { status, reference, multicapture } };
  }
  if (status === 'declined' && isText(detail, MAX_NOTE)) {
    return { paymentId, outcome: { status, detail, told: true, ...(named && { reference }) } };
  }
  throw invalid(
    'The outcome of a payment is "authorized", with its reference, or "declined", with a detail.',
  );
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isText = (value: unknown, max: number, allowed?: RegExp): value is string =>
  typeof value === 'string' &&
  value.length <= max &&
  !/[\p{Cc}\p{Surrogate}]/u.test(allowed ? value.replaceAll(allowed, '') : value);

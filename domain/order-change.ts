import type { Address, OrderChange } from './order.ts';

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

/**
 * Reads what somebody wants to change, as HTTP takes it and as an operator may type it into an update of the workflow.
 * Gives the change, or in words what is wrong with it. Plain code, because workflows carry no validation library.
 */
export function readOrderChange(input: unknown): OrderChange | { problem: string } {
  if (!isRecord(input)) return { problem: 'Say what to change: {"shippingAddress": {...}, "note": "..."}.' };
  const { shippingAddress, note } = input;
  if (shippingAddress === undefined && note === undefined) {
    return { problem: 'Name a shippingAddress, a note, or both.' };
  }
  if (note !== undefined && note !== null && !isText(note, MAX_NOTE, /[\n\r\t]/g)) {
    return { problem: `The note is text of at most ${MAX_NOTE} characters.` };
  }
  if (shippingAddress === undefined) return { note };
  if (!isRecord(shippingAddress)) return { problem: 'The shippingAddress is not an address.' };
  for (const field of Object.keys(shippingAddress)) {
    if (!Object.hasOwn(ADDRESS_FIELDS, field)) return { problem: `An address has no "${field}".` };
  }
  for (const [field, { max, required }] of Object.entries(ADDRESS_FIELDS)) {
    const value = shippingAddress[field];
    if (value === undefined && !required) continue;
    if (!isText(value, max) || value.trim() === '') {
      return { problem: `The address needs a "${field}" of at most ${max} characters.` };
    }
  }
  if (!/^[A-Z]{2}$/.test(String(shippingAddress.country))) {
    return { problem: 'The country is an ISO 3166-1 code of two capital letters.' };
  }
  return { shippingAddress: shippingAddress as unknown as Address, ...(note !== undefined && { note }) };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isText = (value: unknown, max: number, allowed?: RegExp): value is string =>
  typeof value === 'string' &&
  value.length <= max &&
  !/[\p{Cc}\p{Surrogate}]/u.test(allowed ? value.replaceAll(allowed, '') : value);

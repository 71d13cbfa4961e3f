import { z } from 'zod';
import { type ErrorCode, ERRORS } from '../domain/errors.ts';

import { text } from '../domain/fields.ts';

export { currency, knownCurrency, money, prose, sku, sum, text } from '../domain/fields.ts';

/** A whole number in a query, in plain digits. */
export const queryInteger = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,16}$/, 'Write a whole number in digits')
    .transform(Number)
    .pipe(z.int().min(min).max(max))
    .meta({ type: 'integer', minimum: min, maximum: max });

export const uuid = z.guid().transform((value) => value.toLowerCase());
export const timestamp = z.iso.datetime({ offset: true });
export const address = z
  .strictObject({
    name: text(200),
    line1: text(200),
    line2: text(200).optional(),
    city: text(100),
    region: text(100).optional(),
    postalCode: text(20),
    country: z.string().regex(/^[A-Z]{2}$/, 'A country is an ISO 3166-1 code of two capital letters'),
  })
  .meta({ id: 'Address' });

export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string(),
    code: z.enum(Object.keys(ERRORS) as [ErrorCode]),
    requestId: z.string(),
    errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
  })
  .meta({ id: 'Problem' });

import { z } from 'zod';
import { type ErrorCode, ERRORS } from '../domain/errors.ts';

const wellFormed = (value: string) => !/\p{Surrogate}/u.test(value);
const CONTROL = 'Control characters are not allowed';
const BROKEN = 'Broken Unicode is not allowed';

/** Text that every store takes: well formed Unicode, no control characters, trimmed, not empty. */
export const text = (max: number) =>
  z
    .string()
    .max(max, { abort: true })
    .trim()
    .min(1, { abort: true })
    // oxlint-disable-next-line no-control-regex -- that they are not in it
    .regex(/^[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$/, CONTROL)
    .refine(wellFormed, BROKEN);

/** Text that may have several lines. */
export const prose = (max: number) =>
  z
    .string()
    .max(max, { abort: true })
    .trim()
    // oxlint-disable-next-line no-control-regex -- that they are not in it
    .regex(/^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$/, CONTROL)
    .refine(wellFormed, BROKEN);

/** A whole number in a query, in plain digits. */
export const queryInteger = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,16}$/, 'Write a whole number in digits')
    .transform(Number)
    .pipe(z.int().min(min).max(max))
    .meta({ type: 'integer', minimum: min, maximum: max });

export const sku = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'A sku has 1 to 64 letters, digits, dots, dashes or underscores',
  );

export const uuid = z.guid().transform((value) => value.toLowerCase());
export const timestamp = z.iso.datetime({ offset: true });
export const currency = z
  .string()
  .regex(/^[A-Z]{3}$/)
  .meta({ description: 'ISO 4217', example: 'USD' });
export const money = z
  .int()
  .min(0)
  .max(1_000_000_000_000)
  .meta({ description: 'In minor units of the currency' });

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

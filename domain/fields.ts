import { z } from 'zod';
import type { FieldError } from './errors.ts';

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

export const sku = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'A sku has 1 to 64 letters, digits, dots, dashes or underscores',
  );

const ISO_4217 = { description: 'ISO 4217', example: 'USD' };
const currencyCode = z.string().regex(/^[A-Z]{3}$/, { abort: true });
/** As it is told: what was stored before currencies were known may have another one. */
export const currency = currencyCode.meta(ISO_4217);

const CURRENCIES = new Set(Intl.supportedValuesOf('currency'));
/** As it is given. */
export const knownCurrency = currencyCode
  .refine((code) => CURRENCIES.has(code), 'There is no such currency in ISO 4217')
  .meta(ISO_4217);

const IN_MINOR_UNITS = { description: 'In minor units of the currency' };
/** What a unit costs. */
export const money = z.int().min(0).max(1_000_000_000_000).meta(IN_MINOR_UNITS);
/** What many units cost: up to what a number in JSON can tell. */
export const sum = z.int().min(0).max(Number.MAX_SAFE_INTEGER).meta(IN_MINOR_UNITS);

/** What a schema found wrong, field by field. */
export const fieldErrors = (error: z.ZodError): FieldError[] =>
  error.issues.flatMap((issue): FieldError[] =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          pointer: pointerTo([...issue.path, key]),
          detail: 'This field is not known.',
        }))
      : [{ pointer: pointerTo(issue.path), detail: issue.message }],
  );

/** RFC 6901. */
const pointerTo = (path: PropertyKey[]): string =>
  path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

import { z } from 'zod';
import type { FieldError } from './errors.ts';

/** Text that every store takes: well formed Unicode, no control characters, trimmed, not empty. */
export const text = (max: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(max)
    .refine(
      (value) => !/[\p{Cc}\p{Surrogate}]/u.test(value),
      'Control characters and broken Unicode are not allowed',
    );

/** Text that may have several lines. */
export const prose = (max: number) =>
  z
    .string()
    .trim()
    .max(max)
    .refine(
      (value) => !/[\p{Cc}\p{Surrogate}]/u.test(value.replaceAll(/[\n\r\t]/g, '')),
      'Control characters and broken Unicode are not allowed',
    );

export const sku = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'A sku has 1 to 64 letters, digits, dots, dashes or underscores',
  );

export const currency = z
  .string()
  .regex(/^[A-Z]{3}$/)
  .meta({ description: 'ISO 4217', example: 'USD' });
export const money = z
  .int()
  .min(0)
  .max(1_000_000_000_000)
  .meta({ description: 'In minor units of the currency' });

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

import { z } from 'zod';
import { productFields } from '../domain/product-fields.ts';
import { currency, knownCurrency, money, sku, text, timestamp } from './schemas.ts';

/** A product as it is shown. */
export const product = z
  .object({
    sku: z.string(),
    name: z.string(),
    description: z.string(),
    category: z.string(),
    price: money,
    currency,
    imageUrl: z.string().nullable(),
    active: z.boolean(),
    version: z.int(),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: 'Product' });

export const facets = z
  .object({
    categories: z.array(z.object({ category: z.string(), count: z.int() })),
    price: z.object({ min: money, max: money }).nullable(),
  })
  .meta({ id: 'ProductFacets' });

export const newProduct = z.strictObject({ sku, ...productFields }).meta({ id: 'NewProduct' });

export const putProductBody = z
  .strictObject({ sku: sku.optional(), ...productFields })
  .meta({ id: 'PutProduct' });

export const productChanges = z
  .strictObject({
    ...productFields,
    name: text(200).optional(),
    price: money.optional(),
    currency: knownCurrency.optional(),
  })
  .meta({ id: 'ChangeProduct' });

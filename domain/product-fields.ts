import { z } from 'zod';
import { knownCurrency, money, prose, text } from './fields.ts';

/** An image is elsewhere, and named by where. */
const imageUrl = text(2048)
  .refine(
    (url) => /^https?:\/\//i.test(url) && URL.canParse(url),
    'An image is named by an http or https URL',
  )
  .meta({ format: 'uri' });

/** What staff say of a product, one by one or in a file. */
export const productFields = {
  name: text(200),
  description: prose(10_000).optional(),
  category: z.union([z.literal(''), text(100)]).optional(),
  price: money,
  currency: knownCurrency,
  imageUrl: imageUrl.nullable().optional(),
  active: z.boolean().optional(),
};

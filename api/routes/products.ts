import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { findProduct, listProducts } from '../../db/products.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { type Endpoint, endpoint } from '../endpoint.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import { etagOf, isNotModified } from '../preconditions.ts';
import { currency, money, queryInteger, sku, text, timestamp } from '../schemas.ts';

const product = z
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

const price = queryInteger(0, Number.MAX_SAFE_INTEGER);
const position = z.tuple([z.union([z.string().regex(/^[^\0]*$/), z.int()]), sku]);
const CACHE_SECONDS = 30;

export function productEndpoints({ db }: { db: Db }): Endpoint[] {
  return [
    endpoint({
      method: 'get',
      path: '/v1/products',
      tag: 'Products',
      summary: 'List and search the products on sale',
      access: 'public',
      query: z.object({
        q: text(100).optional(),
        category: text(100).optional(),
        minPrice: price.optional(),
        maxPrice: price.optional(),
        sort: z.enum(['sku', 'name', 'price', '-price']).default('sku'),
        ...pageQuery,
      }),
      answers: {
        200: { description: 'A page of products', body: pageOf(product), headers: { Link: 'The next page' } },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query, request, response }) {
        const { limit, cursor, sort, ...filter } = query;
        const after = readCursor(cursor, position);
        if (after && typeof after[0] !== (sort.endsWith('price') ? 'number' : 'string')) {
          throw new OrderPlatformError('invalid_cursor', 'The cursor belongs to another sort order.');
        }
        const rows = await listProducts(db, filter, {
          sort,
          limit: limit + 1,
          after: after && { value: after[0], sku: after[1] },
        });
        const key = sort === '-price' ? 'price' : sort;
        response.setHeader('Cache-Control', `public, max-age=${CACHE_SECONDS}`);
        sendPage(request, response, { rows, limit, positionOf: (row) => [row[key], row.sku] });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/products/:sku',
      tag: 'Products',
      summary: 'Read a product',
      access: 'public',
      params: z.object({ sku }),
      headers: {
        'If-None-Match': { description: 'Answer 304 if the product is still this version (its ETag)' },
      },
      answers: {
        200: { description: 'The product', body: product, headers: { ETag: 'Its version' } },
        304: { description: 'It has not changed' },
      },
      problems: ['not_found'],
      async handle({ params, request, response }) {
        const found = await findProduct(db, params.sku);
        if (!found) throw new OrderPlatformError('not_found', `There is no product ${params.sku}.`);
        const etag = etagOf(found.version);
        response.setHeader('ETag', etag).setHeader('Cache-Control', `public, max-age=${CACHE_SECONDS}`);
        if (isNotModified(request, etag)) response.status(304).end();
        else response.json(found);
      },
    }),
  ];
}

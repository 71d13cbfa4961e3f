import type { Response } from 'express';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { createProduct, patchProduct, putProduct } from '../../db/product-changes.ts';
import {
  createProductLists,
  type Facets,
  type ListedProduct,
  MOST_RANKED,
  PRODUCT_SORTS,
  type ProductSort,
} from '../../db/product-lists.ts';
import { findProduct, type Product } from '../../db/products.ts';
import { invalidField, OrderPlatformError } from '../../domain/errors.ts';
import { type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { oncePerKey, usedKey } from '../idempotent.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import { etagOf, readIfMatch, sendUnlessKnown } from '../preconditions.ts';
import { facets, newProduct, product, productChanges, putProductBody } from '../product-schemas.ts';
import { queryInteger, sku, text } from '../schemas.ts';

const price = queryInteger(0, Number.MAX_SAFE_INTEGER);
const CACHE_SECONDS = 30;
const tag = 'Products';
const params = z.object({ sku });
const productAnswer = { description: 'The product', body: product, headers: { ETag: 'Its version' } };
const ifMatch = { 'If-Match': { description: 'Only if the product is still at this version (its ETag)' } };

const word = z.tuple([z.string().regex(/^[^\0]*$/), sku]);
const POSITIONS: Record<ProductSort, z.ZodType<[string | number, string]>> = {
  sku: word,
  name: word,
  price: z.tuple([z.int(), sku]),
  '-price': z.tuple([z.int(), sku]),
  newest: z.tuple([z.iso.datetime({ precision: 3 }).refine((at) => at >= '1970'), sku]),
  relevance: z.tuple([
    z
      .number()
      .min(0)
      .max(1000)
      .refine((rank) => rank === 0 || rank > 1e-30),
    sku,
  ]),
};

const positionOf = (row: ListedProduct, sort: ProductSort): [string | number | undefined, string] => {
  const value = { ...row, '-price': row.price, newest: row.createdAt, relevance: row.rank }[sort];
  return [value, row.sku];
};

/** `search` is a database connection for searching: many searches at once leave the other connections to orders. */
export function productEndpoints({ db, search }: { db: Db; search: Db }): Endpoint[] {
  const load = async (wanted: string): Promise<Product> => {
    const found = await findProduct(db, wanted);
    if (!found) throw new OrderPlatformError('not_found', `There is no product ${wanted}.`);
    return found;
  };
  const lists = createProductLists({ db, search });
  /** Counting reads all that matches, and may be as old as an answer in a cache. */
  const counted = new LRUCache<string, Facets>({ max: 1000, ttl: CACHE_SECONDS * 1000 });

  return [
    endpoint({
      method: 'get',
      path: '/v1/products',
      tag,
      summary: 'List and search the products on sale',
      access: 'public',
      query: z.object({
        q: text(100).optional(),
        category: text(100).optional(),
        minPrice: price.optional(),
        maxPrice: price.optional(),
        sort: z.enum(PRODUCT_SORTS).default('sku'),
        facets: z.enum(['true', 'false']).optional(),
        ...pageQuery,
      }),
      headers: { 'If-None-Match': { description: 'Answer 304 if the page is still this one (its ETag)' } },
      answers: {
        200: {
          description: `A page of products; a list by relevance ends after ${MOST_RANKED}`,
          body: pageOf(product).extend({ facets: facets.optional() }),
          headers: { Link: 'The next page', ETag: 'A fingerprint of the page' },
        },
        304: { description: 'It has not changed' },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query, request, response }) {
        const { limit, cursor, sort: wanted, facets: withFacets, ...filter } = query;
        const sort = wanted === 'relevance' && filter.q === undefined ? 'sku' : wanted;
        const after = readCursor(cursor, POSITIONS[sort]);
        const rows = await lists.list(filter, {
          sort,
          limit: limit + 1,
          after: after && { value: after[0], sku: after[1] },
        });
        let found: Facets | undefined;
        if (withFacets === 'true') {
          const key = JSON.stringify(filter);
          found = counted.get(key);
          if (!found) {
            found = await lists.countFacets(filter);
            counted.set(key, found);
          }
        }
        response.setHeader('Cache-Control', `public, max-age=${CACHE_SECONDS}`);
        sendPage(request, response, {
          rows,
          limit,
          positionOf: (row) => positionOf(row, sort),
          present: ({ rank: _, ...shown }) => shown,
          beside: found && { facets: found },
          cacheable: true,
        });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/products',
      tag,
      summary: 'Add a product',
      access: STAFF,
      body: newProduct,
      headers: { 'Idempotency-Key': { description: 'Optional: the same key adds once' } },
      answers: { 201: { ...productAnswer, headers: { ...productAnswer.headers, Location: 'The product' } } },
      problems: ['already_exists', 'invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ body, caller, request, response }) {
        const { sku: wanted, ...fields } = body;
        const created = await oncePerKey(db, usedKey(request, caller, body), response, (trx) =>
          createProduct(trx, wanted, fields),
        );
        response.status(201).setHeader('Location', `/v1/products/${wanted}`);
        sendProduct(response, created ?? (await load(wanted)));
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/products/:sku',
      tag,
      summary: 'Read a product',
      access: 'public',
      params,
      headers: {
        'If-None-Match': { description: 'Answer 304 if the product is still this version (its ETag)' },
      },
      answers: { 200: productAnswer, 304: { description: 'It has not changed' } },
      problems: ['not_found'],
      async handle({ params: { sku: wanted }, request, response }) {
        const found = await load(wanted);
        response.setHeader('Cache-Control', `public, max-age=${CACHE_SECONDS}`);
        sendUnlessKnown(request, response, etagOf(found.version), found);
      },
    }),
    endpoint({
      method: 'put',
      path: '/v1/products/:sku',
      tag,
      summary: 'Replace a product; makes it if it is missing',
      access: STAFF,
      params,
      body: putProductBody,
      headers: ifMatch,
      answers: { 200: productAnswer, 201: { ...productAnswer, description: 'The product was made' } },
      problems: ['version_conflict', 'not_found', 'invalid_header'],
      async handle({ params: { sku: wanted }, body: { sku: named = wanted, ...fields }, request, response }) {
        if (named !== wanted) {
          throw invalidField('/sku', `This is about ${wanted}: a product keeps its sku.`);
        }
        const versions = readIfMatch(request);
        const put = await db.transaction().execute((trx) => putProduct(trx, wanted, fields, versions));
        sendProduct(response.status(put.created ? 201 : 200), put.product);
      },
    }),
    endpoint({
      method: 'patch',
      path: '/v1/products/:sku',
      tag,
      summary: 'Change what is named of a product',
      access: STAFF,
      params,
      body: productChanges,
      headers: ifMatch,
      answers: { 200: productAnswer },
      problems: ['version_conflict', 'not_found', 'invalid_header'],
      async handle({ params: { sku: wanted }, body, request, response }) {
        const versions = readIfMatch(request);
        const changed = await db.transaction().execute((trx) => patchProduct(trx, wanted, body, versions));
        sendProduct(response, changed);
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/products/:sku',
      tag,
      summary: 'Take a product off sale; it can still be read by its sku',
      access: STAFF,
      params,
      headers: ifMatch,
      answers: { 204: { description: 'It is off sale' } },
      problems: ['version_conflict', 'not_found', 'invalid_header'],
      async handle({ params: { sku: wanted }, request, response }) {
        const versions = readIfMatch(request);
        await db.transaction().execute((trx) => patchProduct(trx, wanted, { active: false }, versions));
        response.status(204).end();
      },
    }),
  ];
}

function sendProduct(response: Response, found: Product): void {
  response.setHeader('ETag', etagOf(found.version)).setHeader('Cache-Control', 'no-store').json(found);
}

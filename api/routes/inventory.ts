import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import {
  adjustStock,
  deleteStock,
  findStock,
  listMovements,
  listStock,
  putStock,
  type StockLevel,
  summarizeStock,
} from '../../db/inventory.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { oncePerKey, usedKey } from '../idempotent.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import { etagOf, readIfMatch } from '../preconditions.ts';
import { sku, text, timestamp } from '../schemas.ts';
import type { Response } from 'express';

const units = z.int().min(0).max(1_000_000_000);

const stock = z
  .object({
    sku: z.string(),
    onHand: z.int(),
    reserved: z.int(),
    available: z.int(),
    lowStockThreshold: z.int(),
    version: z.int(),
  })
  .meta({ id: 'Stock' });

const movement = z
  .object({
    id: z.string(),
    sku: z.string(),
    type: z.enum(['adjustment', 'reservation', 'release', 'shipment', 'return']),
    quantity: z.int(),
    orderId: z.guid().optional(),
    reason: z.string().optional(),
    onHandAfter: z.int(),
    reservedAfter: z.int(),
    at: timestamp,
  })
  .meta({ id: 'Movement' });

const summary = z
  .object({
    skus: z.int(),
    onHand: z.int(),
    reserved: z.int(),
    available: z.int(),
    lowStock: z.int(),
    outOfStock: z.int(),
  })
  .meta({ id: 'StockSummary' });

/** `/v1/inventory/summary` is the totals, so no stock can have that name. */
const params = z.object({ sku: sku.refine((name) => name !== 'summary') });
const stockAnswer = { description: 'The stock of the sku', body: stock, headers: { ETag: 'Its version' } };
const tag = 'Inventory';

export function inventoryEndpoints({ db }: { db: Db }): Endpoint[] {
  const load = async (wanted: string): Promise<StockLevel> => {
    const found = await findStock(db, wanted);
    if (!found) throw new OrderPlatformError('not_found', `There is no stock of ${wanted}.`);
    return found;
  };

  return [
    endpoint({
      method: 'get',
      path: '/v1/inventory',
      tag,
      summary: 'List stock by sku',
      access: STAFF,
      query: z.object({ lowStock: z.enum(['true', 'false']).optional(), ...pageQuery }),
      answers: {
        200: { description: 'A page of stock', body: pageOf(stock), headers: { Link: 'The next page' } },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query, request, response }) {
        const afterSku = readCursor(query.cursor, sku);
        const rows = await listStock(db, {
          limit: query.limit + 1,
          afterSku,
          lowStock: query.lowStock === 'true',
        });
        sendPage(request, response, { rows, limit: query.limit, positionOf: (row) => row.sku });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/inventory/summary',
      tag,
      summary: 'Totals over all stock',
      access: STAFF,
      answers: { 200: { description: 'The totals, in units', body: summary } },
      async handle({ response }) {
        response.json(await summarizeStock(db));
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/inventory/:sku',
      tag,
      summary: 'Read the stock of a sku',
      access: STAFF,
      params,
      answers: { 200: stockAnswer },
      problems: ['not_found'],
      async handle({ params: { sku: wanted }, response }) {
        sendStock(response, await load(wanted));
      },
    }),
    endpoint({
      method: 'put',
      path: '/v1/inventory/:sku',
      tag,
      summary: 'Set what is on hand; makes the stock if it is missing',
      access: STAFF,
      params,
      body: z.strictObject({ onHand: units, lowStockThreshold: units.optional() }).meta({ id: 'PutStock' }),
      headers: { 'If-Match': { description: 'Only if the stock is still at this version (its ETag)' } },
      answers: { 200: stockAnswer, 201: { ...stockAnswer, description: 'The stock was made' } },
      problems: ['below_reserved', 'version_conflict', 'validation_failed', 'not_found', 'invalid_header'],
      async handle({ params: { sku: wanted }, body, request, response }) {
        const versions = readIfMatch(request);
        const { stock: put, created } = await db
          .transaction()
          .execute((trx) => putStock(trx, wanted, body, versions));
        sendStock(response.status(created ? 201 : 200), put);
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/inventory/:sku',
      tag,
      summary: 'Remove the stock of a sku',
      access: STAFF,
      params,
      answers: { 204: { description: 'Removed' } },
      problems: ['not_found', 'stock_reserved'],
      async handle({ params: { sku: wanted }, response }) {
        await db.transaction().execute((trx) => deleteStock(trx, wanted));
        response.status(204).end();
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/inventory/:sku/adjustments',
      tag,
      summary: 'Add to what is on hand, or take away from it',
      access: STAFF,
      params,
      body: z
        .strictObject({
          delta: z
            .int()
            .min(-1_000_000_000)
            .max(1_000_000_000)
            .refine((delta) => delta !== 0, 'An adjustment by 0 changes nothing')
            .meta({ not: { const: 0 } }),
          reason: text(500),
        })
        .meta({ id: 'AdjustStock' }),
      headers: { 'Idempotency-Key': { description: 'Optional: the same key adjusts once' } },
      answers: { 200: stockAnswer },
      problems: [
        'not_found',
        'insufficient_stock',
        'validation_failed',
        'invalid_idempotency_key',
        'idempotency_key_reused',
      ],
      async handle({ params: { sku: wanted }, body, caller, request, response }) {
        const adjusted = await oncePerKey(db, usedKey(request, caller, body), response, (trx) =>
          adjustStock(trx, wanted, body.delta, body.reason),
        );
        sendStock(response, adjusted ?? (await load(wanted)));
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/inventory/:sku/movements',
      tag,
      summary: 'The ledger of a sku, newest first',
      access: STAFF,
      params,
      query: z.object(pageQuery),
      answers: {
        200: {
          description: 'A page of movements',
          body: pageOf(movement),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['not_found', 'invalid_query', 'invalid_cursor'],
      async handle({ params: { sku: wanted }, query, request, response }) {
        const beforeId = readCursor(query.cursor, z.int().min(1));
        const rows = await listMovements(db, wanted, { limit: query.limit + 1, beforeId });
        if (rows.length === 0 && beforeId === undefined) await load(wanted);
        sendPage(request, response, { rows, limit: query.limit, positionOf: (row) => Number(row.id) });
      },
    }),
  ];
}

function sendStock(response: Response, found: StockLevel): void {
  response.setHeader('ETag', etagOf(found.version)).setHeader('Cache-Control', 'no-store').json(found);
}

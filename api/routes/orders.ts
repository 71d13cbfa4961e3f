import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { listOrders } from '../../db/order-lists.ts';
import { listOrderEvents } from '../../db/orders.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { commandIdFor } from '../../domain/ids.ts';
import type { LineUnits, Order } from '../../domain/order.ts';
import { ORDER_STATUSES } from '../../domain/states.ts';
import { EVERYBODY, type Endpoint, endpoint } from '../endpoint.ts';
import { noteDone, usedKey, wasDoneBefore } from '../idempotent.ts';
import { assertCommandable, type OrderCommands } from '../order-commands.ts';
import type { ReadOrder } from '../order-reader.ts';
import { cancelOrder, changeOrder, order, orderEvent, orderId, placeOrder } from '../order-schemas.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import type { PlaceOrder } from '../placing.ts';
import {
  etagOf,
  expectedVersionOf,
  markReplayed,
  readChangeWait,
  readIdempotencyKey,
  readPreferredWait,
  requireIdempotencyKey,
} from '../preconditions.ts';
import { sku, text, timestamp, uuid } from '../schemas.ts';
import { actorOf, type Caller } from '../tokens.ts';
import type { Request, Response } from 'express';

const position = z.tuple([timestamp, z.guid()]);
const OrderHeaders = { ETag: 'The version of the order', Location: 'Where the order is' };
/** What may stand against a command to an order; `validation_failed` comes with every body. */
export const commandProblems = [
  'not_found',
  'invalid_transition',
  'version_conflict',
  'invalid_header',
] as const;
export const prefer = {
  Prefer: { description: '`wait=<seconds>` (default 10, at most 30) or `respond-async`' },
};
export const preferredChangeWait = {
  Prefer: { description: '`wait=<seconds>` (default 15, at least 1, at most 30)' },
};
export const ifMatch = {
  'If-Match': { description: 'Only if the order is still at this version (its ETag)' },
};

/** What every endpoint that places an order takes and answers; `sendPlaced` answers so. */
export const placing = {
  headers: {
    'Idempotency-Key': {
      description: 'The same key means the same order, however often it is sent',
      required: true,
    },
    ...prefer,
  },
  answers: {
    201: {
      description: 'The order is settled: confirmed, rejected, or cancelled',
      body: order,
      headers: OrderHeaders,
    },
    202: {
      description: 'The order is accepted; its outcome is not known yet',
      body: order,
      headers: OrderHeaders,
    },
  },
  problems: [
    'idempotency_key_required',
    'invalid_idempotency_key',
    'price_changed',
    'validation_failed',
    'idempotency_key_reused',
  ] as const,
};

export interface OrderDeps {
  db: Db;
  load: ReadOrder;
  place: PlaceOrder;
  commands: OrderCommands;
}

export function orderEndpoints({ db, load, place, commands }: OrderDeps): Endpoint[] {
  const cancel = async (
    request: Request,
    response: Response,
    idOrNumber: string,
    caller: Caller,
    body: { reason?: string | undefined; lines?: LineUnits[] | undefined } = {},
  ) => {
    if (request.method === 'POST') readIdempotencyKey(request);
    const before = await load(idOrNumber, caller);
    const expectedVersion = expectedVersionOf(request, before.version);
    const used = request.method === 'POST' ? usedKey(request, caller, body, before.id) : undefined;
    if (await wasDoneBefore(db, used, response)) return sendOrder(response, before);

    const { reason, lines } = body;
    const verdict = lines ? 'apply' : assertCommandable('cancel', before, expectedVersion);
    let outcome: 'done' | 'requested' = 'done';
    if (verdict === 'apply') {
      const wish = {
        by: actorOf(caller),
        ...(reason !== undefined && { reason }),
        ...(expectedVersion !== undefined && { expectedVersion }),
        ...(lines && {
          lines,
          commandId: used ? commandIdFor(used.caller, used.route, used.key) : randomUUID(),
        }),
      };
      const waitMs = lines ? readChangeWait(request) : readPreferredWait(request);
      outcome = await commands.cancel(before, wish, waitMs);
    }
    await noteDone(db, used, response);
    response.status(outcome === 'done' ? 200 : 202);
    return sendOrder(response, await load(before.id, caller));
  };

  return [
    endpoint({
      method: 'post',
      path: '/v1/orders',
      tag: 'Orders',
      summary: 'Place an order',
      access: EVERYBODY,
      body: placeOrder,
      ...placing,
      async handle({ body, caller, request, response }) {
        const placed = await place({
          caller,
          key: requireIdempotencyKey(request),
          route: 'POST /v1/orders',
          request: body,
          waitMs: readPreferredWait(request),
        });
        sendPlaced(response, placed);
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/orders',
      tag: 'Orders',
      summary: 'List orders, newest first',
      access: EVERYBODY,
      query: z.object({
        status: z.enum(ORDER_STATUSES).optional(),
        customerId: uuid.optional(),
        sku: sku.optional(),
        createdFrom: timestamp.optional(),
        createdTo: timestamp.optional().meta({ description: 'Exclusive' }),
        q: text(100).optional().meta({
          description: "The start of the number, or of the customer's name or email; the first 100 of each",
        }),
        ...pageQuery,
      }),
      answers: {
        200: {
          description:
            'A page of orders. One with fewer than `limit` is not the last while there is a `nextCursor`: ' +
            'where few of many orders match, each page looks through a part of them',
          body: pageOf(order),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['invalid_query', 'invalid_cursor', 'forbidden'],
      async handle({ query, caller, request, response }) {
        const { limit, cursor, createdFrom, createdTo, ...filter } = query;
        if (
          caller.role === 'customer' &&
          filter.customerId !== undefined &&
          filter.customerId !== caller.id
        ) {
          throw new OrderPlatformError('forbidden', 'A customer lists its own orders only.');
        }
        const after = readCursor(cursor, position);
        const { orders, walkedTo } = await listOrders(
          db,
          {
            ...filter,
            ...(caller.role === 'customer' && { customerId: caller.id }),
            ...(createdFrom !== undefined && { createdFrom: new Date(createdFrom) }),
            ...(createdTo !== undefined && { createdTo: new Date(createdTo) }),
          },
          { limit: limit + 1, after: after && { createdAt: new Date(after[0]), id: after[1] } },
        );
        sendPage(request, response, {
          rows: orders,
          limit,
          positionOf: (row) => [row.createdAt, row.id],
          goOnAfter: walkedTo && [walkedTo.createdAt, walkedTo.id],
        });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/orders/:id',
      tag: 'Orders',
      summary: 'Read an order by its id or number',
      access: EVERYBODY,
      params: orderId,
      answers: { 200: { description: 'The order', body: order, headers: { ETag: OrderHeaders.ETag } } },
      problems: ['not_found'],
      async handle({ params, caller, response }) {
        sendOrder(response, await load(params.id, caller));
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/orders/:id/events',
      tag: 'Orders',
      summary: 'The timeline of an order, oldest first',
      access: EVERYBODY,
      params: orderId,
      query: z.object(pageQuery),
      answers: {
        200: {
          description: 'A page of events',
          body: pageOf(orderEvent),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['not_found', 'invalid_query', 'invalid_cursor'],
      async handle({ params, query, caller, request, response }) {
        const { id } = await load(params.id, caller);
        const afterSeq = readCursor(query.cursor, z.int32().min(0)) ?? 0;
        const rows = await listOrderEvents(db, id, { limit: query.limit + 1, afterSeq });
        sendPage(request, response, { rows, limit: query.limit, positionOf: (row) => row.seq });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/orders/:id/cancel',
      tag: 'Orders',
      summary: 'Cancel an order and release what it holds',
      access: EVERYBODY,
      params: orderId,
      body: cancelOrder,
      bodyOptional: true,
      headers: {
        ...ifMatch,
        ...prefer,
        'Idempotency-Key': { description: 'Optional: cancelling twice has no second effect' },
      },
      answers: {
        200: { description: 'The order, cancelled', body: order, headers: { ETag: OrderHeaders.ETag } },
        202: { description: 'The wish is recorded; no worker has taken it up yet', body: order },
      },
      problems: [
        ...commandProblems,
        'already_shipped',
        'not_enough_units',
        'invalid_idempotency_key',
        'idempotency_key_reused',
      ],
      handle: ({ params, body, caller, request, response }) =>
        cancel(request, response, params.id, caller, body),
    }),
    endpoint({
      method: 'patch',
      path: '/v1/orders/:id',
      tag: 'Orders',
      summary: 'Change the shipping address or the note of an order that is not shipped',
      access: EVERYBODY,
      params: orderId,
      body: changeOrder,
      headers: { ...ifMatch, ...preferredChangeWait },
      answers: {
        200: { description: 'The order as it is now', body: order, headers: { ETag: OrderHeaders.ETag } },
      },
      problems: commandProblems,
      async handle({ params, body, caller, request, response }) {
        const before = await load(params.id, caller);
        const expectedVersion = expectedVersionOf(request, before.version);
        assertCommandable('change', before, expectedVersion);
        const wish = {
          ...body,
          by: actorOf(caller),
          ...(expectedVersion !== undefined && { expectedVersion }),
        };
        await commands.change(before, wish, readChangeWait(request));
        sendOrder(response, await load(before.id, caller));
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/orders/:id',
      tag: 'Orders',
      summary: 'Cancel an order, without a body',
      access: EVERYBODY,
      params: orderId,
      headers: { ...ifMatch, ...prefer },
      answers: {
        200: { description: 'The order, cancelled', body: order, headers: { ETag: OrderHeaders.ETag } },
        202: { description: 'The wish is recorded; no worker has taken it up yet', body: order },
      },
      problems: [...commandProblems, 'already_shipped'],
      handle: ({ params, caller, request, response }) => cancel(request, response, params.id, caller),
    }),
  ];
}

/** Answers with an order that was placed now, or before by the same request (`replayed`). */
export function sendPlaced(response: Response, placed: { order: Order; replayed: boolean }): void {
  if (placed.replayed) markReplayed(response);
  response.status(placed.order.status === 'pending' ? 202 : 201).location(`/v1/orders/${placed.order.id}`);
  sendOrder(response, placed.order);
}

function sendOrder(response: Response, found: Order): void {
  response.setHeader('ETag', etagOf(found.version)).setHeader('Cache-Control', 'no-store').json(found);
}

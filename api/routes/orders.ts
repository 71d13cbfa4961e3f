import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { findOrder, findOrderByNumber, listOrderEvents, listOrders } from '../../db/orders.ts';
import { claimKey } from '../../db/idempotency-keys.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import {
  type Order,
  ORDER_STATUSES,
  type OrderCommand,
  pendingOrder,
  type PlacedOrder,
} from '../../domain/order.ts';
import { EVERYBODY, type Endpoint, endpoint } from '../endpoint.ts';
import { usedKey, wasDoneBefore } from '../idempotent.ts';
import {
  cancelOrder,
  changeOrder,
  order,
  ORDER_NUMBER,
  orderEvent,
  orderId,
  placeOrder,
} from '../order-schemas.ts';
import type { OrderWorkflows } from '../order-workflows.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import { assertLegal, type OrderPlacing } from '../placing.ts';
import {
  etagOf,
  markReplayed,
  readIdempotencyKey,
  readIfMatch,
  readPreferredWait,
} from '../preconditions.ts';
import { sku, text, timestamp, uuid } from '../schemas.ts';
import { actorOf, type Caller } from '../tokens.ts';
import type { Request, Response } from 'express';

/** A change has no 202: it is waited for, however short the caller's wait. */
const MIN_CHANGE_WAIT_MS = 1_000;

const position = z.tuple([timestamp, z.guid()]);
const OrderHeaders = { ETag: 'The version of the order', Location: 'Where the order is' };
/** What may stand against a command to an order; `validation_failed` comes with every body. */
const commandProblems = ['not_found', 'invalid_transition', 'version_conflict', 'invalid_header'] as const;
const prefer = { Prefer: { description: '`wait=<seconds>` (default 10, at most 30) or `respond-async`' } };
const ifMatch = { 'If-Match': { description: 'Only if the order is still at this version (its ETag)' } };

export interface OrderDeps {
  db: Db;
  workflows: OrderWorkflows;
  placing: OrderPlacing;
}

export function orderEndpoints({ db, workflows, placing }: OrderDeps): Endpoint[] {
  /** The order that the path names, if this caller may see it; an accepted one may not be in the database yet. */
  const load = async (idOrNumber: string, caller: Caller): Promise<Order> => {
    const found = ORDER_NUMBER.test(idOrNumber)
      ? ((await findOrderByNumber(db, idOrNumber)) ??
        pending(await workflows.findAcceptedByNumber(idOrNumber)))
      : ((await findOrder(db, idOrNumber)) ?? pending(await workflows.findAccepted(idOrNumber)));
    if (!found || (caller.role === 'customer' && found.customerId !== caller.id)) {
      throw new OrderPlatformError('not_found', 'There is no such order.');
    }
    return found;
  };
  const cancel = async (
    request: Request,
    response: Response,
    idOrNumber: string,
    caller: Caller,
    reason?: string,
  ) => {
    const used = request.method === 'POST' ? usedKey(request, caller, { reason }) : undefined;
    const expectedVersion = readIfMatch(request);
    const before = await load(idOrNumber, caller);
    if (await wasDoneBefore(db, used, response)) return sendOrder(response, before);

    const verdict = assertCommandable('cancel', before, expectedVersion);
    let outcome: 'done' | 'requested' = 'done';
    if (verdict === 'apply') {
      const wish = {
        by: actorOf(caller),
        ...(reason !== undefined && { reason }),
        ...(expectedVersion !== undefined && { expectedVersion }),
      };
      outcome = await placing.cancel(before, wish, readPreferredWait(request));
    }
    if (used) await claimKey(db, used);
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
      ],
      async handle({ body, caller, request, response }) {
        const key = readIdempotencyKey(request);
        if (key === undefined) {
          throw new OrderPlatformError(
            'idempotency_key_required',
            'Send an Idempotency-Key, for example a new UUID.',
          );
        }
        const { order: placed, replayed } = await placing.place({
          caller,
          key,
          route: 'POST /v1/orders',
          request: body,
          waitMs: readPreferredWait(request),
        });
        if (replayed) markReplayed(response);
        response.status(placed.status === 'pending' ? 202 : 201).location(`/v1/orders/${placed.id}`);
        sendOrder(response, placed);
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
        q: text(100)
          .optional()
          .meta({ description: "The start of the number, or of the customer's name or email" }),
        ...pageQuery,
      }),
      answers: {
        200: { description: 'A page of orders', body: pageOf(order), headers: { Link: 'The next page' } },
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
        const rows = await listOrders(
          db,
          {
            ...filter,
            ...(caller.role === 'customer' && { customerId: caller.id }),
            ...(createdFrom !== undefined && { createdFrom: new Date(createdFrom) }),
            ...(createdTo !== undefined && { createdTo: new Date(createdTo) }),
          },
          { limit: limit + 1, after: after && { createdAt: new Date(after[0]), id: after[1] } },
        );
        sendPage(request, response, { rows, limit, positionOf: (row) => [row.createdAt, row.id] });
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
      problems: [...commandProblems, 'invalid_idempotency_key', 'idempotency_key_reused'],
      handle: ({ params, body, caller, request, response }) =>
        cancel(request, response, params.id, caller, body.reason),
    }),
    endpoint({
      method: 'patch',
      path: '/v1/orders/:id',
      tag: 'Orders',
      summary: 'Change the shipping address or the note of an order that is not shipped',
      access: EVERYBODY,
      params: orderId,
      body: changeOrder,
      headers: { ...ifMatch, ...prefer },
      answers: {
        200: { description: 'The order as it is now', body: order, headers: { ETag: OrderHeaders.ETag } },
      },
      problems: commandProblems,
      async handle({ params, body, caller, request, response }) {
        const expectedVersion = readIfMatch(request);
        const before = await load(params.id, caller);
        assertCommandable('change', before, expectedVersion);
        const wish = {
          ...body,
          by: actorOf(caller),
          ...(expectedVersion !== undefined && { expectedVersion }),
        };
        await placing.change(before, wish, readPreferredWait(request) || MIN_CHANGE_WAIT_MS);
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
      problems: commandProblems,
      handle: ({ params, caller, request, response }) => cancel(request, response, params.id, caller),
    }),
  ];
}

const pending = (accepted: PlacedOrder | undefined): Order | undefined => accepted && pendingOrder(accepted);

/** Refuses at once what the state or a stale version forbids; the transaction that does it decides. */
function assertCommandable(
  command: OrderCommand,
  before: Order,
  expectedVersion?: number,
): 'apply' | 'repeat' {
  const verdict = assertLegal(command, before.status);
  if (verdict === 'apply' && expectedVersion !== undefined && expectedVersion !== before.version) {
    throw new OrderPlatformError('version_conflict', `The order is at version ${before.version}.`);
  }
  return verdict;
}

function sendOrder(response: Response, found: Order): void {
  response.setHeader('ETag', etagOf(found.version)).setHeader('Cache-Control', 'no-store').json(found);
}

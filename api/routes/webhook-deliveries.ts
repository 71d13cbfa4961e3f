import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import {
  findWebhookDelivery,
  listWebhookDeliveries,
  replayWebhookDelivery,
} from '../../db/webhook-deliveries.ts';
import { findWebhookEndpoint } from '../../db/webhook-endpoints.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { DELIVERY_STATUSES } from '../../domain/webhooks.ts';
import { ADMIN, type Endpoint, endpoint } from '../endpoint.ts';
import { oncePerKey, usedKey } from '../idempotent.ts';
import { uuidId } from '../order-schemas.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import { text, timestamp, uuid } from '../schemas.ts';
import { webhookDelivery } from '../webhook-schemas.ts';

const tag = 'Webhooks';
const position = z.tuple([timestamp, z.guid()]);
const aDelivery = { description: 'The delivery, with every attempt', body: webhookDelivery };

export function webhookDeliveryEndpoints({ db }: { db: Db }): Endpoint[] {
  const find = async (id: string) => {
    const found = await findWebhookDelivery(db, id);
    if (!found) throw new OrderPlatformError('not_found', 'There is no such delivery.');
    return found;
  };

  return [
    endpoint({
      method: 'get',
      path: '/v1/webhook-deliveries',
      tag,
      summary: 'List the deliveries of webhooks, newest first',
      access: ADMIN,
      query: z.object({
        endpointId: uuid.optional(),
        status: z.enum(DELIVERY_STATUSES).optional(),
        eventType: text(100).optional(),
        ...pageQuery,
      }),
      answers: {
        200: {
          description: 'A page of deliveries',
          body: pageOf(webhookDelivery),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query: { limit, cursor, ...filter }, request, response }) {
        const after = readCursor(cursor, position);
        const rows = await listWebhookDeliveries(db, filter, {
          limit: limit + 1,
          after: after && { createdAt: new Date(after[0]), id: after[1] },
        });
        sendPage(request, response, { rows, limit, positionOf: (row) => [row.createdAt, row.id] });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/webhook-deliveries/:id',
      tag,
      summary: 'Read a delivery',
      access: ADMIN,
      params: uuidId,
      answers: { 200: aDelivery },
      async handle({ params, response }) {
        response.json(await find(params.id));
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/webhook-deliveries/:id/replay',
      tag,
      summary: 'Deliver again, now, and with all retries',
      access: ADMIN,
      params: uuidId,
      body: z.strictObject({}),
      bodyOptional: true,
      headers: { 'Idempotency-Key': { description: 'Optional: the same key counts once' } },
      answers: { 202: { ...aDelivery, description: 'The delivery, which is under way again' } },
      problems: ['endpoint_disabled', 'invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ params, body, caller, request, response }) {
        const { endpointId } = await find(params.id);
        await oncePerKey(db, usedKey(request, caller, body), response, async (trx) => {
          if (!(await findWebhookEndpoint(trx, endpointId))?.enabled) {
            throw new OrderPlatformError('endpoint_disabled', 'Its endpoint is disabled, or was taken away.');
          }
          await replayWebhookDelivery(trx, params.id);
        });
        response.status(202).json(await find(params.id));
      },
    }),
  ];
}

import { randomBytes, randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { createWebhookDelivery, findWebhookDelivery } from '../../db/webhook-deliveries.ts';
import {
  changeWebhookEndpoint,
  countWebhookEndpoints,
  createWebhookEndpoint,
  deleteWebhookEndpoint,
  findWebhookEndpoint,
  listWebhookEndpoints,
  rotateWebhookSecret,
} from '../../db/webhook-endpoints.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { TEST_EVENT } from '../../domain/webhooks.ts';
import { ADMIN, type Endpoint, endpoint } from '../endpoint.ts';
import { onceById, oncePerKey, usedKey } from '../idempotent.ts';
import { uuidId } from '../order-schemas.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import { timestamp } from '../schemas.ts';
import {
  changeEndpoint,
  createEndpoint,
  newWebhookEndpoint,
  type ObjectionTo,
  webhookDelivery,
  webhookEndpoint,
} from '../webhook-schemas.ts';

const tag = 'Webhooks';
const SECRET_BYTES = 32;
const MAX_ENDPOINTS = 100;
const position = z.tuple([timestamp, z.guid()]);
const keyed = { 'Idempotency-Key': { description: 'Optional: the same key counts once' } };
const keyProblems = ['invalid_idempotency_key', 'idempotency_key_reused'] as const;

const newSecret = (): string => `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;

export function webhookEndpointEndpoints({
  db,
  objectionTo,
}: {
  db: Db;
  objectionTo: ObjectionTo;
}): Endpoint[] {
  const find = async (id: string) => {
    const found = await findWebhookEndpoint(db, id);
    if (!found) throw new OrderPlatformError('not_found', 'There is no such webhook endpoint.');
    return found;
  };

  /** Every event is looked at for every endpoint. A few too many, made at once, do no harm. */
  const assertRoom = async (): Promise<void> => {
    if ((await countWebhookEndpoints(db)) < MAX_ENDPOINTS) return;
    throw new OrderPlatformError('too_many_endpoints', `There may be ${MAX_ENDPOINTS}; delete one first.`);
  };

  return [
    endpoint({
      method: 'post',
      path: '/v1/webhook-endpoints',
      tag,
      summary: 'Add an endpoint that hears of events, signed as Standard Webhooks',
      access: ADMIN,
      body: createEndpoint(objectionTo),
      headers: keyed,
      answers: {
        201: {
          description: 'The endpoint, this once with its secret; a replayed request does not tell it again',
          body: newWebhookEndpoint,
          headers: { Location: 'Where the endpoint is' },
        },
      },
      problems: ['too_many_endpoints', ...keyProblems],
      async handle({ body, caller, request, response }) {
        const secret = newSecret();
        const shown: { secret?: string } = {};
        const id = await onceById(db, { request, response, caller, body }, async (newId) => {
          await assertRoom();
          if (await createWebhookEndpoint(db, { ...body, id: newId, secret })) shown.secret = secret;
        });
        response
          .status(201)
          .location(`/v1/webhook-endpoints/${id}`)
          .setHeader('Cache-Control', 'no-store')
          .json({ ...(await find(id)), ...shown });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/webhook-endpoints',
      tag,
      summary: 'List the webhook endpoints, newest first',
      access: ADMIN,
      query: z.object(pageQuery),
      answers: {
        200: {
          description: 'A page of endpoints',
          body: pageOf(webhookEndpoint),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query: { limit, cursor }, request, response }) {
        const after = readCursor(cursor, position);
        const rows = await listWebhookEndpoints(db, {
          limit: limit + 1,
          after: after && { createdAt: new Date(after[0]), id: after[1] },
        });
        sendPage(request, response, { rows, limit, positionOf: (row) => [row.createdAt, row.id] });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/webhook-endpoints/:id',
      tag,
      summary: 'Read a webhook endpoint',
      access: ADMIN,
      params: uuidId,
      answers: { 200: { description: 'The endpoint', body: webhookEndpoint } },
      async handle({ params, response }) {
        response.json(await find(params.id));
      },
    }),
    endpoint({
      method: 'patch',
      path: '/v1/webhook-endpoints/:id',
      tag,
      summary: 'Change a webhook endpoint, disable it, or enable it again',
      access: ADMIN,
      params: uuidId,
      body: changeEndpoint(objectionTo),
      answers: { 200: { description: 'The endpoint as it is now', body: webhookEndpoint } },
      async handle({ params, body, response }) {
        response.json((await changeWebhookEndpoint(db, params.id, body)) ?? (await find(params.id)));
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/webhook-endpoints/:id',
      tag,
      summary: 'Take a webhook endpoint away; the log of its deliveries stays',
      access: ADMIN,
      params: uuidId,
      answers: { 204: { description: 'It is gone' } },
      async handle({ params, response }) {
        if (!(await deleteWebhookEndpoint(db, params.id))) await find(params.id);
        response.status(204).end();
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/webhook-endpoints/:id/rotate-secret',
      tag,
      summary: 'Give an endpoint a new secret; for a day the old one signs beside it',
      access: ADMIN,
      params: uuidId,
      body: z.strictObject({}),
      bodyOptional: true,
      headers: keyed,
      answers: {
        200: { description: 'The endpoint, this once with its new secret', body: newWebhookEndpoint },
      },
      problems: keyProblems,
      async handle({ params, body, caller, request, response }) {
        await find(params.id);
        const secret = await oncePerKey(db, usedKey(request, caller, body), response, async (trx) => {
          const fresh = newSecret();
          await rotateWebhookSecret(trx, params.id, fresh);
          return fresh;
        });
        response
          .setHeader('Cache-Control', 'no-store')
          .json({ ...(await find(params.id)), ...(secret !== undefined && { secret }) });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/webhook-endpoints/:id/test',
      tag,
      summary: 'Send an endpoint a test event, whatever it listens to',
      access: ADMIN,
      params: uuidId,
      body: z.strictObject({}),
      bodyOptional: true,
      headers: keyed,
      answers: {
        202: {
          description: 'The delivery, which is under way',
          body: webhookDelivery,
          headers: { Location: 'Where the delivery is' },
        },
      },
      problems: ['endpoint_disabled', ...keyProblems],
      async handle({ params, body, caller, request, response }) {
        const { id: endpointId, enabled } = await find(params.id);
        const id = await onceById(db, { request, response, caller, body }, async (newId) => {
          if (!enabled) throw new OrderPlatformError('endpoint_disabled', 'Enable the endpoint first.');
          await createWebhookDelivery(db, {
            id: newId,
            endpointId,
            payload: {
              type: TEST_EVENT,
              timestamp: new Date().toISOString(),
              data: { endpointId, testId: randomUUID() },
            },
          });
        });
        const delivery = await findWebhookDelivery(db, id);
        response.status(202).location(`/v1/webhook-deliveries/${id}`).json(delivery);
      },
    }),
  ];
}

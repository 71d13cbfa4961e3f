import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { findApiKey, insertApiKey, listApiKeys, revokeApiKey } from '../../db/api-keys.ts';
import type { Db } from '../../db/connect.ts';
import { invalidField, OrderPlatformError } from '../../domain/errors.ts';
import { commandIdFor } from '../../domain/ids.ts';
import { type ApiKeys, newApiKey } from '../api-keys.ts';
import { type Endpoint, endpoint } from '../endpoint.ts';
import { oncePerKey, usedKey } from '../idempotent.ts';
import { pageOf, pageQuery, readCursor, sendPage, timedPosition } from '../pagination.ts';
import { text, timestamp, uuid } from '../schemas.ts';

const apiKey = z
  .object({
    id: z.guid(),
    name: z.string(),
    role: z.enum(['staff', 'admin']),
    createdAt: timestamp,
    expiresAt: timestamp.nullable(),
    lastUsedAt: timestamp.nullable(),
  })
  .meta({ id: 'ApiKey' });

const newKey = apiKey
  .extend({
    key: z.string().optional().meta({ description: 'The key, this once; a repeated request is not told' }),
  })
  .meta({ id: 'NewApiKey' });

/** Later times cannot be written in RFC 3339. */
const END_OF_TIME = Date.UTC(10_000, 0);

const createKey = z
  .strictObject({
    name: text(100),
    role: z.enum(['staff', 'admin']).meta({ description: 'What the key may do' }),
    expiresAt: timestamp
      .refine((at) => Date.parse(at) < END_OF_TIME, 'A key expires before the year 10000')
      .nullable()
      .optional()
      .meta({ description: 'Without it the key works until it is revoked' }),
  })
  .meta({ id: 'CreateApiKey' });

const tag = 'API keys';

export function apiKeyEndpoints({ db, apiKeys }: { db: Db; apiKeys: ApiKeys }): Endpoint[] {
  return [
    endpoint({
      method: 'get',
      path: '/v1/api-keys',
      tag,
      summary: 'List the keys that were not revoked, newest first',
      access: ['admin'],
      query: z.object(pageQuery),
      answers: {
        200: { description: 'A page of keys', body: pageOf(apiKey), headers: { Link: 'The next page' } },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query: { limit, cursor }, request, response }) {
        const after = readCursor(cursor, timedPosition);
        const rows = await listApiKeys(db, { limit: limit + 1, after });
        sendPage(request, response, { rows, limit, positionOf: ({ createdAt, id }) => [createdAt, id] });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/api-keys',
      tag,
      summary: 'Make a key for a program; it is sent as "Authorization: Bearer <key>"',
      access: ['admin'],
      body: createKey,
      headers: { 'Idempotency-Key': { description: 'Optional: the same key makes one API key' } },
      answers: { 201: { description: 'The key, shown this once', body: newKey } },
      problems: ['not_found', 'invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ body, caller, request, response }) {
        const used = usedKey(request, caller, body);
        const id = used ? commandIdFor(used.caller, used.route, used.key) : randomUUID();
        const { key, keyHash } = newApiKey();
        const { name, role, expiresAt = null } = body;
        const made = await oncePerKey(db, used, response, async (trx) => {
          assertFuture(expiresAt);
          return await insertApiKey(trx, { id, name, role, expiresAt, keyHash, createdBy: caller.id });
        });
        const found = made ?? (await findApiKey(db, id));
        if (!found) throw noSuchKey();
        response
          .status(201)
          .setHeader('Cache-Control', 'no-store')
          .json({ ...found, ...(made && { key }) });
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/api-keys/:id',
      tag,
      summary: 'Revoke a key; other processes hear of it within 5 seconds',
      access: ['admin'],
      params: z.object({ id: uuid }),
      answers: { 204: { description: 'Revoked, now or before' } },
      async handle({ params: { id }, response }) {
        const keyHash = await revokeApiKey(db, id);
        if (keyHash === undefined) throw noSuchKey();
        apiKeys.forget(keyHash);
        response.status(204).end();
      },
    }),
  ];
}

/** Asked of a new key only: what made a key makes it known again, also when the key has expired. */
function assertFuture(expiresAt: string | null): void {
  if (expiresAt === null || Date.parse(expiresAt) > Date.now()) return;
  throw invalidField('/expiresAt', 'A key expires in the future.');
}

const noSuchKey = (): OrderPlatformError => new OrderPlatformError('not_found', 'There is no such API key.');

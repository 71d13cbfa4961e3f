import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { SideWorkflows } from '../../client/side-workflows.ts';
import type { Db } from '../../db/connect.ts';
import { createImport, discardUpload, getImport, type Import, MOST_ERRORS } from '../../db/imports.ts';
import { commandIdFor } from '../../domain/ids.ts';
import { IMPORT_STATUSES, IMPORT_TYPES } from '../../domain/imports.ts';
import { type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { oncePerKey, usedKey } from '../idempotent.ts';
import { readIdempotencyKey } from '../preconditions.ts';
import { timestamp, uuid } from '../schemas.ts';
import { MAX_UPLOAD_BYTES, receiveUpload } from '../uploads.ts';

const FORMATS = { 'text/csv': 'csv', 'application/x-ndjson': 'ndjson' } as const;

const imported = z
  .object({
    id: z.guid(),
    type: z.enum(IMPORT_TYPES),
    format: z.enum(['csv', 'ndjson']),
    status: z.enum(IMPORT_STATUSES),
    processed: z.int().meta({ description: 'Rows that were dealt with, the failed ones too' }),
    failed: z.int(),
    errors: z
      .array(
        z.object({
          row: z.int().meta({ description: 'From 1; the header of a CSV file is 0' }),
          pointer: z.string().optional(),
          detail: z.string(),
        }),
      )
      .meta({ description: `The first ${MOST_ERRORS}` }),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: 'Import' });

const tag = 'Imports and exports';

export function importEndpoints({
  db,
  sideflows,
  logger,
}: {
  db: Db;
  sideflows: SideWorkflows;
  logger: Logger;
}): Endpoint[] {
  return [
    endpoint({
      method: 'post',
      path: '/v1/imports',
      tag,
      summary: `Import products or stock from a file of up to ${MAX_UPLOAD_BYTES / 1024 / 1024} MB, a header or a JSON object a row`,
      access: STAFF,
      query: z.object({ type: z.enum(IMPORT_TYPES) }),
      stream: Object.keys(FORMATS),
      headers: { 'Idempotency-Key': { description: 'Optional: the same key imports once' } },
      answers: {
        202: {
          description: 'The file is here, and its rows follow',
          body: imported,
          headers: { Location: 'How far it is' },
        },
      },
      problems: ['invalid_query', 'validation_failed', 'invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ query: { type }, caller, request, response }) {
        const format = FORMATS[request.is(Object.keys(FORMATS)) as keyof typeof FORMATS];
        readIdempotencyKey(request);
        const upload = await receiveUpload(db, request);
        const used = usedKey(request, caller, { type, format, sha256: upload.sha256 });
        const id = used ? commandIdFor(used.caller, used.route, used.key) : randomUUID();
        let accepted = false;
        try {
          await oncePerKey(db, used, response, async (trx) => {
            await createImport(trx, { id, uploadId: upload.id, type, format });
            accepted = true;
          });
        } finally {
          if (!accepted) await discardUpload(db, upload.id);
        }
        if (accepted) {
          // Where Temporal is away, reconciling starts it later.
          await sideflows
            .startImport(id, type)
            .catch((error: unknown) => logger.warn({ err: error, importId: id }, 'An import starts later'));
        }
        response.status(202).setHeader('Location', `/v1/imports/${id}`);
        response.setHeader('Cache-Control', 'no-store').json(shown(await getImport(db, id)));
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/imports/:id',
      tag,
      summary: 'How far an import is, and what was wrong',
      access: STAFF,
      params: z.object({ id: uuid }),
      answers: { 200: { description: 'The import', body: imported } },
      problems: ['not_found'],
      async handle({ params: { id }, response }) {
        response.setHeader('Cache-Control', 'no-store').json(shown(await getImport(db, id)));
      },
    }),
  ];
}

const shown = ({ uploadId: _, ...rest }: Import & { uploadId: string }): Import => rest;

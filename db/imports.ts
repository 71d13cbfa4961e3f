import { sql } from 'kysely';
import { OrderPlatformError } from '../domain/errors.ts';
import type { ImportFormat, ImportStatus, ImportType, RowError } from '../domain/imports.ts';
import type { Db, Trx } from './connect.ts';

export interface Import {
  id: string;
  type: ImportType;
  format: ImportFormat;
  status: ImportStatus;
  /** Rows that were dealt with, the failed ones too. */
  processed: number;
  failed: number;
  /** The first of what was wrong. */
  errors: RowError[];
  createdAt: string;
  updatedAt: string;
}

/** An import keeps so much of what was wrong; `failed` counts all of it. */
export const MOST_ERRORS = 100;

/** Keeps a piece of a file that is being sent. */
export const addChunk = (db: Db, uploadId: string, number: number, content: Buffer) =>
  db.insertInto('importing.chunks').values({ upload_id: uploadId, number, content }).execute();

/** Forgets a file that is not imported. */
export const discardUpload = (db: Db | Trx, uploadId: string) =>
  db.deleteFrom('importing.chunks').where('upload_id', '=', uploadId).execute();

/** Forgets the files whose sending broke off together with the process that took them. */
export const discardAbandonedUploads = (db: Db, hours: number) =>
  sql`
    delete from importing.chunks where upload_id in (
      select upload_id from importing.chunks as first
      where number = 0 and created_at < now() - make_interval(hours => ${hours})
        and not exists (select from importing.imports where imports.upload_id = first.upload_id)
      order by created_at
      limit 10
    )
  `.execute(db);

/** Accepts a file that was sent to its end. */
export const createImport = (
  trx: Trx,
  { id, uploadId, type, format }: { id: string; uploadId: string; type: ImportType; format: ImportFormat },
) => trx.insertInto('importing.imports').values({ id, upload_id: uploadId, type, format }).execute();

/** How far an import has come. Throws `not_found`. */
export async function getImport(db: Db, id: string): Promise<Import & { uploadId: string }> {
  const row = await db.selectFrom('importing.imports').selectAll().where('id', '=', id).executeTakeFirst();
  if (!row) throw new OrderPlatformError('not_found', 'There is no such import.');
  const { upload_id: uploadId, created_at: createdAt, updated_at: updatedAt, ...rest } = row;
  return { ...rest, uploadId, createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString() };
}

/** The file of an upload, piece by piece. */
export async function* readUpload(db: Db, uploadId: string): AsyncGenerator<Buffer> {
  for (let number = 0; ; number += 1) {
    const chunk = await db
      .selectFrom('importing.chunks')
      .select('content')
      .where('upload_id', '=', uploadId)
      .where('number', '=', number)
      .executeTakeFirst();
    if (!chunk) return;
    yield chunk.content;
  }
}

/**
 * Takes the next rows of an import, with what `apply` changes, all or nothing: the rows behind the first `from`. False
 * where they were taken before. `apply` says which of them cannot be taken.
 */
export async function takeRows(
  db: Db,
  id: string,
  batch: { from: number; rows: number; errors: RowError[] },
  apply: (trx: Trx) => Promise<RowError[]>,
): Promise<boolean> {
  return await db.transaction().execute(async (trx) => {
    const now = await trx
      .selectFrom('importing.imports')
      .select(['processed', 'status', 'errors'])
      .where('id', '=', id)
      .forUpdate()
      .executeTakeFirst();
    if (now?.status !== 'running' || now.processed !== batch.from) return false;
    const errors = [...batch.errors, ...(await apply(trx))].sort((a, b) => a.row - b.row);
    const failed = new Set(errors.map(({ row }) => row)).size;
    await trx
      .updateTable('importing.imports')
      .set((old) => ({
        processed: batch.from + batch.rows,
        failed: old('failed', '+', failed),
        updated_at: sql<Date>`now()`,
        ...(failed > 0 && { errors: JSON.stringify([...now.errors, ...errors].slice(0, MOST_ERRORS)) }),
      }))
      .where('id', '=', id)
      .execute();
    return true;
  });
}

/** Ends an import, with what made it end before its file did; the file goes. */
export async function endImport(db: Db, id: string, error?: RowError): Promise<void> {
  await db.transaction().execute(async (trx) => {
    const ended = await trx
      .updateTable('importing.imports')
      .set({
        status: error ? 'failed' : 'completed',
        updated_at: sql<Date>`now()`,
        ...(error && {
          // The reason for the end is kept, however many rows went wrong before it.
          errors: sql<string>`(errors - ${MOST_ERRORS - 1}::int) || ${JSON.stringify([error])}::jsonb`,
        }),
      })
      .where('id', '=', id)
      .where('status', '=', 'running')
      .returning('upload_id')
      .executeTakeFirst();
    if (ended) await discardUpload(trx, ended.upload_id);
  });
}

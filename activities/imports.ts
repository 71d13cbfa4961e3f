import { cancellationSignal, heartbeat } from '@temporalio/activity';
import type { Db, Trx } from '../db/connect.ts';
import { importProducts, importStock } from '../db/import-rows.ts';
import { endImport, getImport, readUpload, takeRows } from '../db/imports.ts';
import { checkRows } from '../domain/import-rows.ts';
import {
  type ImportStatus,
  type ImportType,
  type ReadRow,
  type RowError,
  UnreadableFile,
} from '../domain/imports.ts';
import { readRows } from './import-files.ts';

/** So many rows are taken in one transaction, */
const BATCH = 500;
/** and so many characters of them: each of their words is written for searching. */
const BATCH_LENGTH = 100_000;
const HEARTBEAT_MS = 2_000;
const LONGEST_DETAIL = 300;

export function createImportActivities({ db }: { db: Db }) {
  return {
    /**
     * Takes the rows of an import, each once: how far it has come is written together with what it changes, and who goes
     * on begins behind that. Rows that are wrong are noted, the others taken.
     */
    async runImport(id: string): Promise<ImportStatus> {
      const beat = setInterval(heartbeat, HEARTBEAT_MS);
      try {
        const { type, format, status, processed, uploadId } = await getImport(db, id);
        if (status !== 'running') return status;
        let from = processed;
        const take = async (rows: ReadRow[]): Promise<void> => {
          cancellationSignal().throwIfAborted();
          await takeBatch(db, id, type, from, rows);
          from += rows.length;
        };
        try {
          for await (const rows of inBatches(readRows(type, format, readUpload(db, uploadId)), processed)) {
            await take(rows);
          }
        } catch (error) {
          if (!(error instanceof UnreadableFile)) throw error;
          await endImport(db, id, presentable({ row: error.row, detail: error.message }));
          return 'failed';
        }
        await endImport(db, id);
        return 'completed';
      } finally {
        clearInterval(beat);
      }
    },
  };
}

/** The rows behind the first `skipped`, in batches that have no sku twice. What was read before an error is a batch too. */
async function* inBatches(rows: AsyncIterable<ReadRow>, skipped: number): AsyncGenerator<ReadRow[]> {
  let batch: ReadRow[] = [];
  let length = 0;
  let skus = new Set<unknown>();
  let failure: unknown;
  try {
    for await (const read of rows) {
      if (read.row <= skipped) continue;
      const sku = 'value' in read ? (read.value as { sku?: unknown } | null)?.sku : undefined;
      const isFull = batch.length === BATCH || length + read.length > BATCH_LENGTH;
      if ((isFull && batch.length > 0) || (sku !== undefined && skus.has(sku))) {
        yield batch;
        batch = [];
        length = 0;
        skus = new Set();
      }
      batch.push(read);
      length += read.length;
      skus.add(sku);
    }
  } catch (error) {
    if (!(error instanceof UnreadableFile)) throw error;
    failure = error;
  }
  if (batch.length > 0) yield batch;
  if (failure !== undefined) throw failure;
}

async function takeBatch(db: Db, id: string, type: ImportType, from: number, rows: ReadRow[]): Promise<void> {
  const { errors, apply } = prepare(type, rows);
  const taken = await takeRows(db, id, { from, rows: rows.length, errors: errors.map(presentable) }, apply);
  if (!taken) throw new Error('Somebody else has gone on with this import.');
}

function prepare(
  type: ImportType,
  rows: ReadRow[],
): { errors: RowError[]; apply: (trx: Trx) => Promise<RowError[]> } {
  if (type === 'products') {
    const { good, errors } = checkRows('products', rows);
    return { errors, apply: (trx) => importProducts(trx, good).then(() => []) };
  }
  const { good, errors } = checkRows('inventory', rows);
  return { errors, apply: (trx) => importStock(trx, good) };
}

/** Names of fields are the sender's: what they are told with has to fit in the database. */
const presentable = ({ row, pointer, detail }: RowError): RowError => ({
  row,
  ...(pointer !== undefined && { pointer: clean(pointer) }),
  detail: clean(detail),
});

const clean = (value: string): string =>
  value.slice(0, LONGEST_DETAIL).replaceAll(/[\p{Cc}\p{Surrogate}]/gu, '\uFFFD');

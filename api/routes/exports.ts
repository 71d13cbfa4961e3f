import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { stringify } from 'csv-stringify/sync';
import type { Response } from 'express';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { exportOrders, exportProducts, exportStock } from '../../db/exports.ts';
import { withGuard } from '../../domain/import-rows.ts';
import { type Endpoint, endpoint, STAFF } from '../endpoint.ts';

type Format = 'csv' | 'ndjson';
type Row = Record<string, unknown>;

interface Exported {
  noun: string;
  summary: string;
  columns: string[];
  read(db: Db): AsyncIterable<Row[]>;
}

const EXPORTS: Exported[] = [
  {
    noun: 'products',
    summary: 'All products, as a file that can be imported',
    columns: ['sku', 'name', 'description', 'category', 'price', 'currency', 'imageUrl', 'active'],
    read: exportProducts,
  },
  {
    noun: 'inventory',
    summary: 'All stock, as a file that can be imported',
    columns: ['sku', 'onHand', 'lowStockThreshold', 'reserved', 'available'],
    read: exportStock,
  },
  {
    noun: 'orders',
    summary: 'All orders',
    columns: [
      'id',
      'number',
      'customerId',
      'status',
      'paymentStatus',
      'currency',
      'total',
      'country',
      'lines',
      'createdAt',
      'updatedAt',
    ],
    read: exportOrders,
  },
];

const TYPES = { csv: 'text/csv; charset=utf-8', ndjson: 'application/x-ndjson' } as const;

export const exportEndpoints = ({ db }: { db: Db }): Endpoint[] =>
  EXPORTS.map(({ noun, summary, columns, read }) =>
    endpoint({
      method: 'get',
      path: `/v1/exports/${noun}`,
      tag: 'Imports and exports',
      summary,
      access: STAFF,
      query: z.object({ format: z.enum(['csv', 'ndjson']).default('csv') }),
      answers: {
        200: {
          description: 'A stream of rows',
          body: z.string(),
          contentType: ['text/csv', 'application/x-ndjson'],
        },
      },
      problems: ['invalid_query'],
      async handle({ query: { format }, request, response }) {
        response
          .setHeader('Content-Type', TYPES[format])
          .setHeader('Content-Disposition', `attachment; filename="${noun}.${format}"`)
          .setHeader('Cache-Control', 'no-store');
        if (request.method === 'HEAD') response.end();
        else await sendFile(response, read(db), columns, format);
      },
    }),
  );

/** Sends rows as they are read, and reads no faster than they are taken. */
async function sendFile(
  response: Response,
  rows: AsyncIterable<Row[]>,
  columns: string[],
  format: Format,
): Promise<void> {
  const parts = rows[Symbol.asyncIterator]();
  // What cannot be read at all is told as a problem.
  let next = await parts.next();
  const all = async function* () {
    for (; !next.done; next = await parts.next()) yield next.value;
  };
  try {
    await pipeline(Readable.from(format === 'csv' ? toCsv(all(), columns) : toLines(all())), response);
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}

async function* toCsv(parts: AsyncIterable<Row[]>, columns: string[]): AsyncGenerator<string> {
  yield stringify([columns]);
  for await (const rows of parts) {
    yield stringify(rows.map((row) => columns.map((column) => cellOf(row[column]))));
  }
}

async function* toLines(parts: AsyncIterable<Row[]>): AsyncGenerator<string> {
  for await (const rows of parts) yield rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

function cellOf(value: unknown): string | number | null {
  if (value === null || typeof value === 'number') return value;
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'string' ? withGuard(value) : JSON.stringify(value);
}

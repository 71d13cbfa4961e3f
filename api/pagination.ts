import type { Request, Response } from 'express';
import { z } from 'zod';
import { OrderPlatformError } from '../domain/errors.ts';
import { contentEtagOf, sendUnlessKnown } from './preconditions.ts';
import { queryInteger, timestamp } from './schemas.ts';

/** The query parameters of every list. */
export const pageQuery = {
  limit: queryInteger(1, 100).default(25).meta({ default: 25 }),
  cursor: z.string().max(1000).optional(),
};

/** The position in a list that goes from the newest to the oldest: a time and an id. */
export const timedPosition = z
  .tuple([timestamp, z.guid()])
  .transform(([createdAt, id]) => ({ createdAt: new Date(createdAt), id }));

/** The answer of a list of `item`. */
export const pageOf = (item: z.ZodType) =>
  z.object({ data: z.array(item), nextCursor: z.string().nullable() });

const encode = (position: unknown): string => Buffer.from(JSON.stringify(position)).toString('base64url');

/** The position that a cursor stands for. Throws `invalid_cursor` for one that this list did not give out. */
export function readCursor<T>(cursor: string | undefined, position: z.ZodType<T>): T | undefined {
  if (cursor === undefined) return undefined;
  try {
    return position.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')));
  } catch {
    throw new OrderPlatformError('invalid_cursor', 'The cursor is not one that this list gave out.');
  }
}

/**
 * Sends a page of a list. `rows` were read with one more than `limit`, which tells whether there is a next page; its
 * cursor is `positionOf` the last row sent, and a `Link` header (RFC 8288) leads to it. A list that was not read to its
 * end, although its rows are too few, says where to `goOnAfter`. Rows are shown as `present` makes them, and what is
 * `beside` the page is sent with it. A `cacheable` list has an ETag, and is not sent again to who has it.
 */
export function sendPage<T>(
  request: Request,
  response: Response,
  page: {
    rows: T[];
    limit: number;
    positionOf: (row: T) => unknown;
    goOnAfter?: unknown;
    present?: (row: T) => unknown;
    beside?: object | undefined;
    cacheable?: boolean;
  },
): void {
  const data = page.rows.slice(0, page.limit);
  const last = data.at(-1);
  const position =
    page.rows.length > page.limit && last !== undefined ? page.positionOf(last) : page.goOnAfter;
  const nextCursor = position === undefined ? null : encode(position);
  if (nextCursor !== null) {
    const url = new URL(request.originalUrl, 'http://localhost');
    url.searchParams.set('cursor', nextCursor);
    response.setHeader('Link', `<${url.pathname}${url.search}>; rel="next"`);
  }
  const shown = page.present ? data.map(page.present) : data;
  const body = { data: shown, nextCursor, ...page.beside };
  if (page.cacheable) sendUnlessKnown(request, response, contentEtagOf(body), body);
  else response.json(body);
}

import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { comparePositions, currentPosition, type EventPosition } from '../../db/recorded-events.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { EVENT_TYPE_PATTERN, isMeant } from '../../domain/events.ts';
import type { Callers } from '../callers.ts';
import { EVERYBODY, type Endpoint, endpoint } from '../endpoint.ts';
import type { EventStreams } from '../event-streams.ts';
import type { ReadOrder } from '../order-reader.ts';
import { uuid } from '../schemas.ts';

export interface EventDeps {
  db: Db;
  load: ReadOrder;
  streams: EventStreams;
  callers: Callers;
}

const MAX_TYPES = 50;

const eventTypes = z
  .string()
  .transform((list) => list.split(','))
  .pipe(z.array(z.string().regex(EVENT_TYPE_PATTERN, 'For example order.placed,return.*')).max(MAX_TYPES));

export function eventEndpoints({ db, load, streams, callers }: EventDeps): Endpoint[] {
  const readPosition = sharedByAll(() => currentPosition(db));
  return [
    endpoint({
      method: 'get',
      path: '/v1/events',
      tag: 'Events',
      summary: 'What happens, as it happens, as server-sent events',
      access: EVERYBODY,
      query: z.object({
        types: eventTypes.optional().meta({
          type: 'string',
          description: 'Only these, with commas between; the end may be a wildcard: `order.placed,return.*`',
        }),
        orderId: uuid.optional(),
      }),
      headers: {
        'Last-Event-ID': {
          description: 'Goes on behind the event with this `id`, without a gap; otherwise from now on',
        },
      },
      answers: {
        200: {
          description:
            'Staff hear of all orders, a customer of its own. `event` is the type, `data` an event as JSON with its ' +
            '`orderId`, `orderNumber`, `customerId` and `seq`; the events of an order count by `seq`. What was sent to a ' +
            'customer about no order comes as a `notification.sent` without the three of an order',
          contentType: 'text/event-stream',
          body: z.string(),
        },
      },
      problems: ['invalid_query', 'invalid_cursor', 'not_found'],
      async handle({ query, caller, request, response }) {
        const { types = [], orderId } = query;
        if (orderId !== undefined) await load(orderId, caller);
        const now = await readPosition();
        const token = request.headers.authorization!.replace(/^bearer +/i, '').trim();
        streams.open(request, response, {
          caller,
          after: readLastEventId(request.headers['last-event-id'], now) ?? now,
          wants: (event) =>
            (caller.role !== 'customer' || event.customerId === caller.id) &&
            (orderId === undefined || event.orderId === orderId) &&
            isMeant(types, event.type),
          isAllowed: () =>
            callers.verify(token).then(
              () => true,
              (error: unknown) => !(error instanceof OrderPlatformError && error.code === 'unauthenticated'),
            ),
        });
      },
    }),
  ];
}

/**
 * Reads once for all who ask while another reading is under way, each of whom gets what was read after it asked: after a
 * restart all listeners come back at once, and orders need the connections too.
 */
function sharedByAll<T>(read: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | undefined;
  return () => {
    next ??= underWay.then(() => {
      next = undefined;
      const found = read();
      underWay = found.catch(() => undefined);
      return found;
    });
    return next;
  };
}

/** The place that an id stands for. Throws `invalid_cursor` for one that no stream on this database has given out. */
function readLastEventId(id: string | string[] | undefined, now: EventPosition): EventPosition | undefined {
  if (id === undefined) return undefined;
  const [, xid, position] = /^(\d{1,20})-(\d{1,15})$/.exec(id.toString()) ?? [];
  const after = xid === undefined ? undefined : { xid, position: Number(position) };
  if (!after || comparePositions(after, now) > 0) {
    throw new OrderPlatformError('invalid_cursor', 'The Last-Event-ID is not one that this stream gave out.');
  }
  return after;
}

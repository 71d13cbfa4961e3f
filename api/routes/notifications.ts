import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { findNotification, listNotifications } from '../../db/notification-lists.ts';
import {
  findAddressee,
  isErased,
  queueNotification,
  replayNotification,
  replayNotifications as replayAll,
} from '../../db/notification-queue.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import {
  CHANNELS,
  type Notification,
  NOTIFICATION_STATUSES,
  type RenderMessage,
} from '../../domain/notifications.ts';
import { EVERYBODY, type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { noteDone, onceById, oncePerKey, usedKey, wasDoneBefore } from '../idempotent.ts';
import { notification, replayNotifications, sendNotification } from '../notification-schemas.ts';
import { uuidId } from '../order-schemas.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';
import { timestamp, uuid } from '../schemas.ts';
import type { Caller } from '../tokens.ts';

export interface NotificationDeps {
  db: Db;
  render: RenderMessage;
  /** Says that a notification is due. */
  wakePump(): void;
}

const tag = 'Notifications';
const position = z.tuple([timestamp, z.guid()]);
const keyed = { 'Idempotency-Key': { description: 'Optional: the same key counts once' } };
const keyProblems = ['invalid_idempotency_key', 'idempotency_key_reused'] as const;

export function notificationEndpoints({ db, render, wakePump }: NotificationDeps): Endpoint[] {
  const find = async (id: string, caller: Caller): Promise<Notification> => {
    const found = await findNotification(db, id);
    if (!found || (caller.role === 'customer' && found.customerId !== caller.id)) {
      throw new OrderPlatformError('not_found', 'There is no such notification.');
    }
    return found;
  };

  return [
    endpoint({
      method: 'post',
      path: '/v1/notifications',
      tag,
      summary: 'Send a message',
      access: STAFF,
      body: sendNotification,
      headers: keyed,
      answers: {
        202: {
          description: 'It is queued',
          body: notification,
          headers: { Location: 'Where the notification is' },
        },
      },
      problems: keyProblems,
      async handle({ body, caller, request, response }) {
        const id = await onceById(db, { request, response, caller, body }, async (newId) => {
          const addressee = await findAddressee(db, body.channel, body.recipient);
          render(body.template, body.channel, addressee.language, body.variables);
          await queueNotification(db, { id: newId, ...body, ...addressee });
        });
        wakePump();
        response
          .status(202)
          .location(`/v1/notifications/${id}`)
          .json(await find(id, caller));
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/notifications',
      tag,
      summary: 'List notifications, newest first',
      access: EVERYBODY,
      query: z.object({
        channel: z.enum(CHANNELS).optional(),
        status: z.enum(NOTIFICATION_STATUSES).optional(),
        customerId: uuid.optional(),
        orderId: uuid.optional(),
        ...pageQuery,
      }),
      answers: {
        200: {
          description:
            'A page of notifications. One with fewer than `limit` is not the last while there is a `nextCursor`',
          body: pageOf(notification),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['invalid_query', 'invalid_cursor', 'forbidden'],
      async handle({ query, caller, request, response }) {
        const { limit, cursor, ...filter } = query;
        const isCustomer = caller.role === 'customer';
        if (isCustomer && filter.customerId !== undefined && filter.customerId !== caller.id) {
          throw new OrderPlatformError('forbidden', 'A customer lists its own notifications only.');
        }
        const after = readCursor(cursor, position);
        const { notifications, walkedTo } = await listNotifications(
          db,
          { ...filter, ...(isCustomer && { customerId: caller.id }) },
          { limit: limit + 1, after: after && { createdAt: new Date(after[0]), id: after[1] } },
        );
        sendPage(request, response, {
          rows: notifications,
          limit,
          positionOf: (row) => [row.createdAt, row.id],
          goOnAfter: walkedTo && [walkedTo.createdAt, walkedTo.id],
        });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/notifications/:id',
      tag,
      summary: 'Read a notification, with every attempt to send it',
      access: EVERYBODY,
      params: uuidId,
      answers: { 200: { description: 'The notification', body: notification } },
      problems: ['not_found'],
      async handle({ params, caller, response }) {
        response.setHeader('Cache-Control', 'no-store').json(await find(params.id, caller));
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/notifications/replay',
      tag,
      summary: 'Try again to send all that was not sent',
      access: STAFF,
      body: replayNotifications,
      headers: keyed,
      answers: {
        202: { description: 'How many are tried again', body: z.object({ replayed: z.int() }) },
      },
      problems: keyProblems,
      async handle({ body, caller, request, response }) {
        const { from, to, ...filter } = body;
        const used = usedKey(request, caller, body);
        const isRepeat = await wasDoneBefore(db, used, response);
        const range = { ...(from && { from: new Date(from) }), ...(to && { to: new Date(to) }) };
        const replayed = isRepeat ? 0 : await replayAll(db, { ...filter, ...range });
        if (!isRepeat) await noteDone(db, used, response);
        wakePump();
        response.status(202).json({ replayed });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/notifications/:id/replay',
      tag,
      summary: 'Try again to send a notification',
      access: STAFF,
      params: uuidId,
      body: z.strictObject({}),
      bodyOptional: true,
      headers: keyed,
      answers: { 202: { description: 'It is queued again, with all attempts so far', body: notification } },
      problems: ['not_found', 'already_sent', 'invalid_transition', ...keyProblems],
      async handle({ params, body, caller, request, response }) {
        const found = await find(params.id, caller);
        await oncePerKey(db, usedKey(request, caller, body), response, async (trx) => {
          if (await replayNotification(trx, params.id)) return;
          if (isErased(found) && found.status !== 'sent') throw cannotReplay(found);
          throw new OrderPlatformError('already_sent', 'What was sent is not sent again.');
        });
        wakePump();
        response.status(202).json(await find(params.id, caller));
      },
    }),
  ];
}

const cannotReplay = ({ status }: Notification) =>
  new OrderPlatformError('invalid_transition', 'It was erased with its customer, and is not sent any more.', {
    extra: { currentStatus: status },
  });

import pLimit from 'p-limit';
import type { Db } from '../db/connect.ts';
import {
  claimNotification,
  hold,
  markFailed,
  markSent,
  type NotificationToSend,
  renewClaim,
} from '../db/notifications.ts';
import type { RenderedMessage } from '../domain/notifications.ts';
import { quietUntil, respectsQuietHours } from '../domain/quiet-hours.ts';
import type { Mailer } from '../providers/mail/mailer.ts';
import { MessageRefused } from '../providers/message-refused.ts';
import { renderMessage, UnrenderableMessage } from '../providers/messages/render.ts';
import type { PushService } from '../providers/push/push.ts';
import type { SmsGateway } from '../providers/sms/sms.ts';
import type { Log } from './payments.ts';

export interface NotificationSenderDeps {
  db: Db;
  log: Log;
  mailer: Mailer;
  sms: SmsGateway;
  push: PushService;
  /** After so many failed attempts a notification is a dead letter. */
  maxAttempts: number;
}

/** So many of a channel the pump sends at once; the other connections of the mailer are for the orders. */
export const PUMPED_AT_ONCE = 4;

const RENEW_MS = 7_000;

/** What became of a notification; one that is `held` is left to the pump, mostly until quiet hours are over. */
export type Delivery = 'sent' | 'dead_letter' | 'held';

/**
 * Both ways send once, write down what came of it, and throw where trying again may help. A message that cannot be
 * rendered, that is refused for good, or that failed too often becomes a dead letter.
 */
export interface NotificationSender {
  /** Sends a notification that is still queued and that nobody else is sending now. */
  sendById: (id: string) => Promise<Delivery>;
  /** Sends a notification that this sender has claimed. */
  send: (claimed: NotificationToSend) => Promise<Delivery>;
}

export function createNotificationSender(deps: NotificationSenderDeps): NotificationSender {
  const { db, log, mailer, sms, push, maxAttempts } = deps;
  /** A notification is claimed only when the mailer is free, so that no claim runs out while its message queues. */
  const slots = pLimit(mailer.concurrency - PUMPED_AT_ONCE);

  const handOver = async (
    { id, channel, recipient: to, tooLate }: NotificationToSend,
    { subject, text, html }: RenderedMessage,
  ): Promise<void> => {
    if (channel === 'sms') return await sms.send({ id, to, text }, tooLate);
    if (channel === 'push') return await push.send({ id, to, title: subject ?? '', text }, tooLate);
    return await mailer.send({ id, to, subject: subject ?? '', text, html: html ?? '' }, tooLate);
  };

  /** A claim is short, so that another sender soon goes on where one died; who lives and takes long renews it. */
  const whileClaimed = async (notification: NotificationToSend, sending: Promise<void>): Promise<void> => {
    let renewal: Promise<unknown> | undefined;
    const timer = setInterval(() => {
      renewal = renewClaim(db, notification).catch(() => undefined);
    }, RENEW_MS);
    try {
      await sending;
    } finally {
      clearInterval(timer);
      await renewal;
    }
  };

  const send = async (notification: NotificationToSend): Promise<Delivery> => {
    const { id } = notification;
    const until = waitsUntil(notification);
    if (until) {
      await hold(db, notification, until);
      return 'held';
    }
    let message: RenderedMessage;
    try {
      if (!notification.isWanted) {
        throw new MessageRefused('The customer does not want to be told over this channel any more.');
      }
      message = renderNotification(notification);
      await whileClaimed(notification, handOver(notification, message));
    } catch (error) {
      const final =
        error instanceof MessageRefused ||
        error instanceof UnrenderableMessage ||
        notification.attempts + 1 >= maxAttempts;
      await markFailed(db, notification, error instanceof Error ? error.message : String(error), final);
      if (final) {
        log.error('A notification is a dead letter', { notificationId: id });
        return 'dead_letter';
      }
      // The server's own words may name the recipient: they stay in the row, out of histories and logs.
      // oxlint-disable-next-line preserve-caught-error
      throw new Error(`The ${notification.channel} was not taken (${codeOf(error)}).`);
    }
    await markSent(db, id, message);
    return 'sent';
  };

  return {
    send,
    sendById: (id) =>
      slots(async () => {
        const notification = await claimNotification(db, id);
        if (notification === 'claimed') throw new Error('Another sender is sending this notification now.');
        return typeof notification === 'string' ? notification : await send(notification);
      }),
  };
}

/** When it is to be sent if not now: after quiet hours, or once somebody else has time for it. */
function waitsUntil({ channel, template, quietHours, tooLate }: NotificationToSend): Date | undefined {
  const now = new Date();
  if (tooLate.aborted) return now;
  return quietHours && respectsQuietHours(channel, template) ? quietUntil(now, quietHours) : undefined;
}

const renderNotification = ({
  template,
  channel,
  language,
  variables,
  customerName,
  order,
}: NotificationToSend) =>
  renderMessage(template, channel, language, {
    customerName: customerName ?? '',
    ...(order && { order }),
    ...variables,
  });

function codeOf(error: unknown): string {
  const { responseCode, code } = error as { responseCode?: number; code?: string };
  return String(responseCode ?? code ?? 'no code');
}

import { log } from '@temporalio/activity';
import type { Db } from '../db/connect.ts';
import { claimNotification, markFailed, markSent, type NotificationToSend } from '../db/notifications.ts';
import { findOrder } from '../db/orders.ts';
import { type Mailer, MailRefused } from '../providers/mail/mailer.ts';
import { renderMail } from '../providers/mail/templates.ts';

export interface NotificationActivityDeps {
  db: Db;
  mailer: Mailer;
  /** After so many failed attempts a notification is a dead letter. */
  maxAttempts: number;
}

export const createNotificationActivities = ({ db, mailer, maxAttempts }: NotificationActivityDeps) => ({
  /**
   * Sends a notification that is still queued. A message the mail server refuses for good, or that failed too often,
   * becomes a dead letter; any other failure is recorded and thrown, so that Temporal tries again.
   */
  async sendNotification(id: string): Promise<'sent' | 'dead_letter'> {
    const notification = await claimNotification(db, id);
    if (notification === 'claimed') throw new Error('Another sender is sending this notification now.');
    if (typeof notification === 'string') return notification;

    const mail = renderMail(
      notification.template,
      notification.language,
      await variablesOf(db, notification),
    );
    try {
      await mailer.send({ id, to: notification.recipient, ...mail });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const final = error instanceof MailRefused || notification.attempts + 1 >= maxAttempts;
      await markFailed(db, id, message, final);
      if (!final) throw error;
      log.error('A notification is a dead letter', {
        notificationId: id,
        attempts: notification.attempts + 1,
      });
      return 'dead_letter';
    }
    await markSent(db, id, { subject: mail.subject, body: mail.text });
    return 'sent';
  },
});

async function variablesOf(db: Db, notification: NotificationToSend): Promise<Record<string, unknown>> {
  const order = notification.orderId === null ? undefined : await findOrder(db, notification.orderId);
  return {
    ...notification.variables,
    customerName: notification.customerName ?? '',
    ...(order && { order }),
  };
}

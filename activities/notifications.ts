import pLimit from 'p-limit';
import type { Db } from '../db/connect.ts';
import { claimNotification, markFailed, markSent, type NotificationToSend } from '../db/notifications.ts';
import type { Log } from './payments.ts';
import { type Mailer, MailRefused } from '../providers/mail/mailer.ts';
import { type RenderedMail, renderMail, UnrenderableMail } from '../providers/mail/templates.ts';

export interface NotificationActivityDeps {
  db: Db;
  mailer: Mailer;
  log: Log;
  /** After so many failed attempts a notification is a dead letter. */
  maxAttempts: number;
}

export function createNotificationActivities({ db, mailer, maxAttempts, log }: NotificationActivityDeps) {
  /** A notification is claimed only when the mailer is free, so that no claim runs out while its message queues. */
  const slots = pLimit(mailer.concurrency);

  const claimAndSend = async (id: string): Promise<'sent' | 'dead_letter'> => {
    const notification = await claimNotification(db, id);
    if (notification === 'claimed') throw new Error('Another sender is sending this notification now.');
    if (typeof notification === 'string') return notification;

    let mail: RenderedMail;
    try {
      mail = renderNotification(notification);
      await mailer.send({ id, to: notification.recipient, ...mail });
    } catch (error) {
      const attempts = notification.attempts + 1;
      const final =
        error instanceof MailRefused || error instanceof UnrenderableMail || attempts >= maxAttempts;
      await markFailed(db, notification, error instanceof Error ? error.message : String(error), final);
      if (final) {
        log.error('A notification is a dead letter', { notificationId: id, attempts });
        return 'dead_letter';
      }
      // The server's own words may name the recipient: they stay in the row, out of histories and logs.
      // oxlint-disable-next-line preserve-caught-error
      throw new Error(`The mail server did not take the message (${codeOf(error)}).`);
    }
    await markSent(db, id, { subject: mail.subject, body: mail.text });
    return 'sent';
  };

  return {
    /**
     * Sends a notification that is still queued. A message that cannot be rendered, that the mail server refuses for
     * good, or that failed too often becomes a dead letter; any other failure is recorded and thrown, so that Temporal
     * tries again.
     */
    sendNotification: (id: string): Promise<'sent' | 'dead_letter'> => slots(() => claimAndSend(id)),
  };
}

const renderNotification = ({ template, language, variables, customerName, order }: NotificationToSend) =>
  renderMail(template, language, { ...variables, customerName: customerName ?? '', ...(order && { order }) });

function codeOf(error: unknown): string {
  const { responseCode, code } = error as { responseCode?: number; code?: string };
  return String(responseCode ?? code ?? 'no code');
}

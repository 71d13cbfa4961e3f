import type { NotificationSender } from './notification-sender.ts';

export interface NotificationActivityDeps {
  notifications: NotificationSender;
}

export const createNotificationActivities = ({ notifications }: NotificationActivityDeps) => ({
  /** Sends a notification that is still queued; throws where Temporal shall try again. */
  sendNotification: notifications.sendById,
});

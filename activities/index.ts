import { createNotificationActivities, type NotificationActivityDeps } from './notifications.ts';
import { createOrderActivities, type OrderActivityDeps } from './orders.ts';

/** The activities of the platform, bound to what they work with. */
export function createActivities(deps: Omit<OrderActivityDeps, 'send'> & NotificationActivityDeps) {
  const notifications = createNotificationActivities(deps);
  return { ...notifications, ...createOrderActivities({ ...deps, send: notifications.sendNotification }) };
}

export type Activities = ReturnType<typeof createActivities>;

import { createNotificationActivities, type NotificationActivityDeps } from './notifications.ts';
import { createReconcileActivities, type ReconcileDeps } from './reconcile.ts';
import { createOrderActivities, type OrderActivityDeps } from './orders.ts';

/** The activities of the platform, bound to what they work with. */
export function createActivities(
  deps: Omit<OrderActivityDeps, 'send'> & NotificationActivityDeps & ReconcileDeps,
) {
  const notifications = createNotificationActivities(deps);
  return {
    ...notifications,
    ...createOrderActivities({ ...deps, send: notifications.sendNotification }),
    ...createReconcileActivities(deps),
  };
}

export type Activities = ReturnType<typeof createActivities>;

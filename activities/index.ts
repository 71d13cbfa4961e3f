import { createNotificationActivities, type NotificationActivityDeps } from './notifications.ts';
import { createOrderActivities, type OrderActivityDeps } from './orders.ts';

/** The activities of the platform, bound to what they work with. */
export const createActivities = (deps: OrderActivityDeps & NotificationActivityDeps) => ({
  ...createOrderActivities(deps),
  ...createNotificationActivities(deps),
});

export type Activities = ReturnType<typeof createActivities>;

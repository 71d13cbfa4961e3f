import { createImportActivities } from './imports.ts';
import { createCartActivities, type CartActivityDeps } from './carts.ts';
import { createNotificationActivities, type NotificationActivityDeps } from './notifications.ts';
import { createOrderActivities, type OrderActivityDeps } from './orders.ts';
import { createPlacing, type PlacingDeps } from './placing.ts';
import { createReconcileActivities, type ReconcileDeps } from './reconcile.ts';
import { createStepTaker, type StepDeps } from './steps.ts';

type Deps = Omit<StepDeps, 'send'> &
  Omit<PlacingDeps, 'follow'> &
  Omit<OrderActivityDeps, 'send'> &
  NotificationActivityDeps &
  ReconcileDeps &
  CartActivityDeps;

/** The activities of the platform, bound to what they work with; and the first of them to begin before it is asked for. */
export function createActivities(deps: Deps) {
  const send = deps.notifications.sendById;
  const steps = createStepTaker({ ...deps, send });
  const { placeOrder, placeAhead } = createPlacing({ ...deps, follow: steps.follow });
  const activities = {
    ...createNotificationActivities(deps),
    placeOrder,
    ...createOrderActivities({ ...deps, send }, steps),
    ...createImportActivities(deps),
    ...createReconcileActivities(deps),
    ...createCartActivities(deps),
  };
  return { activities, placeAhead };
}

export type Activities = ReturnType<typeof createActivities>['activities'];

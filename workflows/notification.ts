import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { Delivery } from '../activities/notification-sender.ts';

const { sendNotification } = proxyActivities<Activities>({
  startToCloseTimeout: '45 seconds',
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '10 minutes' },
});

/**
 * Keeps trying to send a notification until it is sent or a dead letter, or quiet hours have begun: what is held is sent
 * later by the pump. Its order may have ended long before.
 */
export async function notification(notificationId: string): Promise<Delivery> {
  return await sendNotification(notificationId);
}

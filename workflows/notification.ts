import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';

const { sendNotification } = proxyActivities<Activities>({
  startToCloseTimeout: '30 seconds',
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '10 minutes' },
});

/**
 * Keeps trying to send a notification until it is sent or a dead letter. Its order may have ended long before.
 */
export async function notification(notificationId: string): Promise<'sent' | 'dead_letter'> {
  return await sendNotification(notificationId);
}

import { proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';

const { tendCarts } = proxyActivities<Activities>({
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '1 second', maximumAttempts: 3 },
  summary: 'Unlock ordered carts, forget expired ones, remind of forgotten ones',
});

/**
 * One round through the carts. Answers with how many were still locked by an order that is over, how many had expired, and
 * of how many a customer is reminded.
 */
export async function carts(): Promise<{ unlocked: number; expired: number; reminded: number }> {
  const { unlocked, expired, reminded } = await tendCarts();
  setCurrentDetails(`Unlocked: ${unlocked}\n\nExpired: ${expired}\n\nReminded of: ${reminded}`);
  return { unlocked, expired, reminded };
}

import { proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';

const { tendCarts } = proxyActivities<Activities>({
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '1 second', maximumAttempts: 3 },
  summary: 'Forget expired carts, remind of forgotten ones',
});

/** One round through the carts. Answers with how many had expired, and of how many a customer is reminded. */
export async function carts(): Promise<{ expired: number; reminded: number }> {
  const { expired, reminded } = await tendCarts();
  setCurrentDetails(`Expired: ${expired}\n\nReminded of: ${reminded}`);
  return { expired, reminded };
}

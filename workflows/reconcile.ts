import { proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';

const { reconcile: findAndHeal } = proxyActivities<Activities>({
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '1 second', maximumAttempts: 3 },
  summary: 'Look for what is wrong, and put it right',
});

/** One round of reconciling. Answers with how much was found wrong, by kind. */
export async function reconcile(): Promise<Record<string, number>> {
  const found = await findAndHeal();
  const lines = Object.entries(found).map(([kind, count]) => `- ${kind.replaceAll('_', ' ')}: ${count}`);
  setCurrentDetails(lines.length === 0 ? 'Nothing was wrong.' : lines.join('\n'));
  return found;
}

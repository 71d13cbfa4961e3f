import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { ImportStatus } from '../domain/imports.ts';

const { runImport } = proxyActivities<Activities>({
  startToCloseTimeout: '1 day',
  heartbeatTimeout: '10 seconds',
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '1 minute' },
});

/** Takes all rows of a file, for as long as that takes. Answers how it ended. */
export async function importFile(importId: string): Promise<ImportStatus> {
  return await runImport(importId);
}

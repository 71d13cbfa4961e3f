import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { Logger } from 'pino';
import { RECONCILE_WORKFLOW, TASK_QUEUE } from '../workflows/messages.ts';

/** The ID of the Temporal Schedule. */
const SCHEDULE_ID = 'reconcile';

/** Makes the Schedule `reconcile` run every so many seconds; where it may not, reconciling waits for somebody who may. */
export async function scheduleReconciling(
  client: Client,
  intervalSeconds: number,
  logger: Logger,
): Promise<void> {
  const spec = { intervals: [{ every: intervalSeconds * 1000 }] };
  try {
    await createOrUpdate(client, spec);
  } catch (error) {
    logger.warn(
      { reason: error instanceof Error ? error.message : String(error) },
      'Reconciling is not scheduled',
    );
  }
}

async function createOrUpdate(client: Client, spec: { intervals: { every: number }[] }): Promise<void> {
  try {
    await client.schedule.create({
      scheduleId: SCHEDULE_ID,
      spec,
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' },
      action: {
        type: 'startWorkflow',
        workflowType: RECONCILE_WORKFLOW,
        workflowId: 'reconcile',
        taskQueue: TASK_QUEUE,
        staticSummary: 'Finds what is wrong in spite of all, and heals it',
      },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    const handle = client.schedule.getHandle(SCHEDULE_ID);
    const { spec: known } = await handle.describe();
    if (known.intervals?.[0]?.every === spec.intervals[0]!.every) return;
    await handle.update((previous) => ({ ...previous, spec }));
  }
}

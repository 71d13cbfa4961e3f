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
    if (!(error instanceof ScheduleAlreadyRunning)) {
      logger.warn(
        { reason: error instanceof Error ? error.message : String(error) },
        'Reconciling is not scheduled',
      );
      return;
    }
    const handle = client.schedule.getHandle(SCHEDULE_ID);
    const { spec: known } = await handle.describe();
    if (known.intervals?.[0]?.every === intervalSeconds * 1000) return;
    await handle.update((previous) => ({ ...previous, spec }));
  }
}

import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { Logger } from 'pino';
import { TASK_QUEUE } from '../workflows/messages.ts';

/** What runs again and again: the Schedule and its workflow have one name. */
interface Recurring {
  name: string;
  everySeconds: number;
  summary: string;
}

/** Makes the Temporal Schedule of this name run; where it may not, that waits for somebody who may. */
export async function scheduleWorkflow(client: Client, recurring: Recurring, logger: Logger): Promise<void> {
  try {
    await createOrUpdate(client, recurring);
  } catch (error) {
    logger.warn(
      { schedule: recurring.name, reason: error instanceof Error ? error.message : String(error) },
      'A schedule could not be made',
    );
  }
}

async function createOrUpdate(client: Client, { name, everySeconds, summary }: Recurring): Promise<void> {
  const spec = { intervals: [{ every: everySeconds * 1000 }] };
  try {
    await client.schedule.create({
      scheduleId: name,
      spec,
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' },
      action: {
        type: 'startWorkflow',
        workflowType: name,
        workflowId: name,
        taskQueue: TASK_QUEUE,
        staticSummary: summary,
      },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    const handle = client.schedule.getHandle(name);
    const { spec: known } = await handle.describe();
    if (known.intervals?.[0]?.every === spec.intervals[0]!.every) return;
    await handle.update((previous) => ({ ...previous, spec }));
  }
}

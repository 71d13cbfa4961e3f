import { type NativeConnection, Worker } from '@temporalio/worker';
import type { WebhookActivities } from '../activities/webhooks.ts';
import { WEBHOOK_TASK_QUEUE } from '../workflows/messages.ts';

export interface WebhookWorkerOptions {
  connection: NativeConnection;
  namespace: string;
  activities: WebhookActivities;
}

/**
 * A worker that sends webhooks and nothing else: its slots are its own, and a slot costs little, because it mostly waits. Of
 * whatever build, it gets the tasks of every workflow.
 */
export const createWebhookWorker = ({
  connection,
  namespace,
  activities,
}: WebhookWorkerOptions): Promise<Worker> =>
  Worker.create({
    connection,
    namespace,
    taskQueue: WEBHOOK_TASK_QUEUE,
    activities: { ...activities },
    maxConcurrentActivityTaskExecutions: 200,
    maxConcurrentActivityTaskPolls: 2,
    shutdownGraceTime: '2 seconds',
    shutdownForceTime: '10 seconds',
  });

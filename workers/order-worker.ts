import { type NativeConnection, Worker } from '@temporalio/worker';
import type { Activities } from '../activities/index.ts';
import { TASK_QUEUE } from '../workflows/messages.ts';
import { payloadConverterPath, workflowsPath } from './workflow-sources.ts';

export interface OrderWorkerOptions {
  connection: NativeConnection;
  namespace: string;
  activities: Activities;
  /** A prebuilt bundle (`npm run build`); without one the workflows are bundled now, which takes seconds. */
  workflowBundle: string | undefined;
  maxCachedWorkflows: number;
  deploymentName: string;
  /** Temporal sends it tasks once it is the deployment's current build; without one the worker is unversioned. */
  buildId: string | undefined;
}

/** A worker that runs everything of the task queue `orders`. */
export const createOrderWorker = (options: OrderWorkerOptions): Promise<Worker> =>
  Worker.create({
    connection: options.connection,
    namespace: options.namespace,
    taskQueue: TASK_QUEUE,
    activities: options.activities,
    dataConverter: { payloadConverterPath },
    ...(options.workflowBundle === undefined
      ? { workflowsPath }
      : { workflowBundle: { codePath: options.workflowBundle } }),
    maxCachedWorkflows: options.maxCachedWorkflows,
    ...(options.buildId !== undefined && {
      workerDeploymentOptions: {
        useWorkerVersioning: true,
        version: { deploymentName: options.deploymentName, buildId: options.buildId },
        defaultVersioningBehavior: 'AUTO_UPGRADE',
      },
    }),
    maxConcurrentWorkflowTaskExecutions: 100,
    maxConcurrentLocalActivityExecutions: 100,
    maxConcurrentActivityTaskExecutions: 50,
    shutdownGraceTime: '5 seconds',
    shutdownForceTime: '10 seconds',
  });

import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Worker } from '@temporalio/worker';
import { connectTemporal } from '../../workers/connection.ts';
import { createLogger } from '../../workers/logger.ts';
import { installRuntime } from '../../workers/runtime.ts';
import { payloadConverterPath } from '../../workers/workflow-sources.ts';
import { serveRounds } from '../rounds.ts';

const taskQueue = 'bench-bare';

const logger = createLogger('warn', 'bench-bare');
await installRuntime(logger);
const temporal = connectTemporal(logger);
const connection = await temporal.connected;

/** Everything but the workflow and the queue is as in workers/order-worker.ts. */
const worker = await Worker.create({
  connection,
  namespace: temporal.namespace,
  taskQueue,
  workflowsPath: fileURLToPath(new URL('workflows.ts', import.meta.url)),
  dataConverter: { payloadConverterPath },
  maxCachedWorkflows: 300,
  maxConcurrentWorkflowTaskExecutions: 100,
  maxConcurrentLocalActivityExecutions: 100,
});
void worker.run();

/** In the process that polls, over the worker's own connection: what an eager start needs. */
const { client } = temporal;

/**
 * Durably started, and its first and only workflow task completed, which `result()` learns from the server. Without
 * that wait the clients would run ahead of the worker and the starts would no longer be eager.
 */
serveRounds({
  async operation() {
    const handle = await client.workflow.start('bare', {
      taskQueue,
      workflowId: `bare-${randomUUID()}`,
      requestEagerStart: true,
    });
    await handle.result();
    return handle.eagerlyStarted ? 'eager' : 'not eager';
  },
});

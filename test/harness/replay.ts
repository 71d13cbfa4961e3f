import { IllegalStateError } from '@temporalio/common';
import { DefaultLogger, type History, Runtime, Worker } from '@temporalio/worker';

/** A process, which test files share, has one runtime; it may have ended with the last worker. Only errors are logged. */
function installRuntime(): void {
  try {
    Runtime.install({
      logger: new DefaultLogger('ERROR'),
      telemetryOptions: { logging: { forward: {}, filter: 'error' } },
    });
  } catch (error) {
    if (!(error instanceof IllegalStateError)) throw error;
  }
}

const optionsOf = (codePath: string) => ({ workflowBundle: { codePath } });

/** Replays a history with the workflows of the bundle at `workflowBundle`; rejects where they would go another way. */
export async function replayHistory(
  workflowBundle: string,
  history: History,
  workflowId: string,
): Promise<void> {
  installRuntime();
  await Worker.runReplayHistory(optionsOf(workflowBundle), history, workflowId);
}

/** Replays many; yields a result for each, with the error of those that would go another way. */
export function replayHistories(
  workflowBundle: string,
  histories: Parameters<typeof Worker.runReplayHistories>[1],
): ReturnType<typeof Worker.runReplayHistories> {
  installRuntime();
  return Worker.runReplayHistories(optionsOf(workflowBundle), histories);
}

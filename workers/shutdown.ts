import type { Worker } from '@temporalio/worker';
import type { Logger } from 'pino';

const GRACE_MS = 20_000;

/**
 * Runs the workers, each as soon as it is made, until the process is asked to stop (SIGTERM, SIGINT, or its parent gone),
 * lets `closeIntake` finish what has begun, and then the workers. One that fails, or cannot be made, ends the process, so
 * that whoever supervises it starts it again.
 */
export async function untilShutdown(
  workers: Promise<Worker>[],
  logger: Logger,
  closeIntake: () => Promise<unknown> = async () => undefined,
): Promise<void> {
  const fail = (error: unknown): never => {
    logger.fatal({ err: error }, 'A worker failed');
    process.exit(1);
  };
  const polling: { worker: Worker; ended: Promise<void> }[] = [];
  let stopping = false;
  for (const making of workers) {
    making.then(
      (worker) => stopping || polling.push({ worker, ended: worker.run().catch(fail) }),
      (error: unknown) => stopping || fail(error),
    );
  }
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'disconnect'] as const) process.once(signal, () => resolve());
  });
  setTimeout(() => {
    logger.error('Not everything ended in time');
    process.exit(1);
  }, GRACE_MS).unref();
  stopping = true;
  await closeIntake();
  for (const { worker } of polling) worker.shutdown();
  await Promise.all(polling.map(({ ended }) => ended));
}

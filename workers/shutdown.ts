import type { Worker } from '@temporalio/worker';
import type { Logger } from 'pino';

const GRACE_MS = 20_000;

/**
 * Runs the workers until the process is asked to stop (SIGTERM, SIGINT, or its parent gone), lets `closeIntake` finish
 * what has begun, and then the workers. A worker that fails ends the process, so that whoever supervises it starts it
 * again.
 */
export async function untilShutdown(
  workers: Worker[],
  logger: Logger,
  closeIntake: () => Promise<unknown> = async () => undefined,
): Promise<void> {
  const running = workers.map((worker) =>
    worker.run().catch((error: unknown) => {
      logger.fatal({ err: error }, 'A worker failed');
      process.exit(1);
    }),
  );
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'disconnect'] as const) process.once(signal, () => resolve());
  });
  setTimeout(() => {
    logger.error('Not everything ended in time');
    process.exit(1);
  }, GRACE_MS).unref();
  await closeIntake();
  for (const worker of workers) worker.shutdown();
  await Promise.all(running);
}

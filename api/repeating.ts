import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';

const LAST_TIME_MS = 2_000;

/**
 * Does `work` every so many milliseconds, one after the other. A failure is logged where the time before went well, and
 * the work is done again all the same. `stop` has it done a last time, and does not wait for that for long.
 */
export function repeat(
  name: string,
  milliseconds: number,
  work: () => Promise<void>,
  logger: Logger,
): { stop(): Promise<void> } {
  let failing = false;
  let stopped = false;
  let timer: NodeJS.Timeout;
  const once = async (): Promise<void> => {
    try {
      await work();
      failing = false;
    } catch (error) {
      if (!failing) logger.warn({ err: error, work: name }, 'Repeated work failed, and is tried again');
      failing = true;
    }
  };
  const later = (): NodeJS.Timeout =>
    setTimeout(() => {
      running = once().then(() => {
        if (!stopped) timer = later();
      });
    }, milliseconds).unref();
  let running = Promise.resolve();
  timer = later();
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await Promise.race([running.then(once), delay(LAST_TIME_MS)]);
    },
  };
}

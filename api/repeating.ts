import type { Logger } from 'pino';

/**
 * Does `work` every so many milliseconds, one after the other. A failure is logged where the time before went well, and
 * the work is done again all the same. `stop` waits for what is being done, and does it a last time.
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
      await running;
      await once();
    },
  };
}

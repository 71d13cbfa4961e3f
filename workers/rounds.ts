import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isTemporalUnavailable } from '../client/calls.ts';
import { isDatabaseUnavailable } from '../db/connect.ts';

/** Work that is done again and again, one round after the other. */
export interface Rounds {
  /** Begins the next round now, unless the last one failed. */
  wake(): void;
  /** Ends after the round that has begun. */
  stop(): Promise<void>;
}

export interface RoundsOptions {
  /** Answers with how long to rest after it. `ending` is aborted as soon as there is to be no other one. */
  round(ending: AbortSignal): Promise<number>;
  /** How long to rest after one that failed. */
  retryMs: number;
  logger: Logger;
  /** What the log says of a failure, and of the first round that goes well after it. */
  failed: string;
  recovered: string;
}

/** Whether Temporal or Postgres is away, which may last. */
export const isOutage = (error: unknown): boolean =>
  isTemporalUnavailable(error) || isDatabaseUnavailable(error);

/** Begins the first round now. What a round throws is logged, an outage once, and never ends the rounds. */
export function startRounds({ round, retryMs, logger, failed, recovered }: RoundsOptions): Rounds {
  const ending = new AbortController();
  let rest = new AbortController();
  let failing = false;

  const run = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      rest = new AbortController();
      let pause = retryMs;
      try {
        pause = await round(ending.signal);
        if (failing) logger.info(recovered);
        failing = false;
      } catch (error) {
        if (!failing || !isOutage(error)) logger.warn({ err: error }, failed);
        failing = true;
      }
      const signal = failing ? ending.signal : AbortSignal.any([ending.signal, rest.signal]);
      if (pause > 0) await delay(pause, undefined, { signal }).catch(() => undefined);
    }
  };
  const running = run();

  return {
    wake: () => rest.abort(),
    async stop() {
      ending.abort();
      await running;
    },
  };
}

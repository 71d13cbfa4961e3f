import type { Logger } from 'pino';
import type { Db } from '../db/connect.ts';
import type { Listener } from '../db/listener.ts';
import { findOrder } from '../db/orders.ts';
import { OUTCOME_CHANNEL } from '../db/placement.ts';
import type { Order } from '../domain/order.ts';

interface Settler {
  tell(settled: Order): void;
  wake(): void;
}

/**
 * Where requests wait for their orders to be settled. An outcome of this very process is handed over directly; one
 * of another process comes by Postgres LISTEN/NOTIFY.
 */
export interface Outcomes {
  /** From now on hears the outcome of an order. `wait` gives it, or undefined when it takes longer. */
  expect(orderId: string): { wait(milliseconds: number): Promise<Order | undefined>; forget(): void };
  /** Hands an outcome to those who wait for it here; `false` when nobody does. */
  settle(settled: Order): boolean;
  /** Ends every wait now, as if its time were over: the process is going to stop. */
  release(): void;
}

/** Hears by `listener` of the outcomes of other processes. */
export function listenForOutcomes(listener: Listener, db: Db, logger: Logger): Outcomes {
  const waiting = new Map<string, Set<Settler>>();
  let released = false;

  const settle = (settled: Order): boolean => {
    const settlers = waiting.get(settled.id);
    if (!settlers) return false;
    for (const settler of settlers) settler.tell(settled);
    return true;
  };

  const lookUp = async (orderId: string): Promise<void> => {
    if (!waiting.has(orderId)) return;
    const order = await findOrder(db, orderId);
    if (order && order.status !== 'pending') settle(order);
  };

  const lookUpQuietly = (orderId: string): void => {
    lookUp(orderId).catch((error: unknown) =>
      logger.warn({ err: error, orderId }, 'An outcome could not be read'),
    );
  };

  listener.on(OUTCOME_CHANNEL, (orderId) => orderId && lookUpQuietly(orderId));
  listener.onConnected(() => {
    for (const orderId of waiting.keys()) lookUpQuietly(orderId);
  });

  return {
    settle,
    release() {
      released = true;
      for (const settlers of waiting.values()) for (const settler of settlers) settler.wake();
    },
    expect(orderId) {
      let outcome: Order | undefined;
      let wake: (() => void) | undefined;
      const settler: Settler = {
        tell(settled) {
          outcome = settled;
          wake?.();
        },
        wake: () => wake?.(),
      };
      const settlers = waiting.get(orderId) ?? new Set();
      waiting.set(orderId, settlers.add(settler));
      return {
        async wait(milliseconds) {
          if (!outcome && milliseconds > 0 && !released) {
            let timer: NodeJS.Timeout | undefined;
            await new Promise<void>((resolve) => {
              wake = resolve;
              timer = setTimeout(resolve, milliseconds);
            });
            clearTimeout(timer);
          }
          return outcome;
        },
        forget() {
          settlers.delete(settler);
          if (settlers.size === 0 && waiting.get(orderId) === settlers) waiting.delete(orderId);
        },
      };
    },
  };
}

import pg from 'pg';
import type { Logger } from 'pino';
import type { Db } from '../db/connect.ts';
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
  /** Asks Postgres over the connection that listens, which never waits behind other queries. */
  ping(): Promise<boolean>;
  /** Ends every wait now, as if its time were over: the process is going to stop. */
  release(): void;
  close(): Promise<void>;
}

const RECONNECT_MS = 500;

/** Starts to listen at `databaseUrl`, and keeps trying for as long as Postgres is away. */
export function listenForOutcomes(databaseUrl: string, db: Db, logger: Logger): Outcomes {
  const waiting = new Map<string, Set<Settler>>();
  let client: pg.Client | undefined;
  let listening = false;
  let closed = false;
  let released = false;
  let retry: NodeJS.Timeout | undefined;

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

  const listen = async (): Promise<void> => {
    if (closed) return;
    const next = new pg.Client({
      connectionString: databaseUrl,
      application_name: 'holdfast-outcomes',
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
    });
    client = next;
    const reconnect = (): void => {
      if (client !== next || closed) return;
      client = undefined;
      listening = false;
      next.end().catch(() => undefined);
      retry = setTimeout(() => void listen(), RECONNECT_MS);
    };
    next.on('error', reconnect);
    next.on('end', reconnect);
    next.on('notification', ({ payload }) => payload && lookUpQuietly(payload));
    try {
      await next.connect();
      await next.query(`listen ${OUTCOME_CHANNEL}`);
      listening = true;
      for (const orderId of waiting.keys()) lookUpQuietly(orderId);
    } catch {
      reconnect();
    }
  };
  void listen();

  return {
    settle,
    async ping() {
      if (!listening || !client) return false;
      await client.query('select 1');
      return true;
    },
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
    async close() {
      closed = true;
      clearTimeout(retry);
      await client?.end().catch(() => undefined);
    },
  };
}

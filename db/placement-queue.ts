import { type Db, isDatabaseUnavailable } from './connect.ts';
import type { StepTaken } from './order-steps.ts';
import { type Placement, placeOrders } from './placement.ts';

/** Places an order. The result, and what it throws, are those of `placeOrders`. */
export type PlaceOrder = (placement: Placement) => Promise<StepTaken | undefined>;

interface Waiting {
  placement: Placement;
  skus: string[];
  resolve(taken: StepTaken | undefined): void;
  reject(error: unknown): void;
}

/** More in one transaction hardly saves anything and makes the last one wait longer. */
const MAX_BATCH = 16;
/** A batch that takes longer waits for a lock that somebody else holds. */
const PATIENCE_MS = 250;
/** One that works, and one behind it: if for the same stock, it is read and waits for the lock while the first commits. */
const MAX_MOVING = 2;
const MAX_IN_FLIGHT = 8;

/**
 * Group commit: an order that comes while hardly any is being placed is placed at once, alone; those that come meanwhile
 * wait, and are placed together, first come first served, in one transaction with a result for each. So orders for one hot
 * item share the lock on its stock and the commit, and nobody waits longer than for the batches before. Where those have
 * to wait for a lock that somebody else holds, orders for other items pass them.
 *
 * An order that Postgres refuses fails alone: its batch is placed again one by one.
 */
export function createPlacementQueue(db: Db): PlaceOrder {
  let waiting: Waiting[] = [];
  const inFlight = new Set<{ skus: Set<string>; stuck: boolean }>();

  const placeNext = (): void => {
    const stuck = [...inFlight].filter((flight) => flight.stuck);
    if (inFlight.size === MAX_IN_FLIGHT || inFlight.size - stuck.length === MAX_MOVING) return;
    const isFree = ({ skus }: Waiting) => !skus.some((sku) => stuck.some((flight) => flight.skus.has(sku)));
    const batch = waiting.filter(isFree).slice(0, MAX_BATCH);
    if (batch.length === 0) return;
    waiting = waiting.filter((one) => !batch.includes(one));

    const flight = { skus: new Set(batch.flatMap(({ skus }) => skus)), stuck: false };
    inFlight.add(flight);
    const timer = setTimeout(() => {
      flight.stuck = true;
      placeNext();
    }, PATIENCE_MS);
    void placeBatch(db, batch).then(() => {
      clearTimeout(timer);
      inFlight.delete(flight);
      placeNext();
    });
  };

  return (placement) =>
    new Promise((resolve, reject) => {
      const skus = placement.order.lines.map(({ sku }) => sku);
      waiting.push({ placement, skus, resolve, reject });
      placeNext();
    });
}

/** Places a batch and tells everyone in it. Never throws. */
async function placeBatch(db: Db, batch: Waiting[]): Promise<void> {
  try {
    const taken = await placeOrders(
      db,
      batch.map(({ placement }) => placement),
    );
    for (const [index, { resolve }] of batch.entries()) resolve(taken[index]);
  } catch (error) {
    if (batch.length === 1 || isDatabaseUnavailable(error)) {
      for (const { reject } of batch) reject(error);
    } else {
      for (const one of batch) await placeBatch(db, [one]);
    }
  }
}

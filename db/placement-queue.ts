import { type Db, isDatabaseUnavailable } from './connect.ts';
import type { StepTaken } from './order-steps.ts';
import { type Placement, placeOrders } from './placement.ts';

/** Places an order. The result, and what it throws, are those of `placeOrders`. */
export type PlaceOrder = (placement: Placement) => Promise<StepTaken | undefined>;

interface Waiting {
  placement: Placement;
  resolve(taken: StepTaken | undefined): void;
  reject(error: unknown): void;
}

/** More in one transaction hardly saves anything and makes the last one wait longer. */
const MAX_BATCH = 64;
/** A batch that takes longer waits for somebody's lock: others may pass it, so many at once. */
const PATIENCE_MS = 250;
const MAX_IN_FLIGHT = 4;

/**
 * Group commit: an order that comes while none is being placed is placed at once, alone; those that come meanwhile wait,
 * and are placed together, first come first served, in one transaction with a result for each. So orders for one hot item
 * share the lock on its stock and the commit, and nobody waits longer than for the batches before.
 *
 * An order that Postgres refuses fails alone: its batch is placed again one by one.
 */
export function createPlacementQueue(db: Db): PlaceOrder {
  const waiting: Waiting[] = [];
  let inFlight = 0;
  let slow = 0;

  const placeNext = (): void => {
    const busy = inFlight > slow || inFlight === MAX_IN_FLIGHT;
    if (busy || waiting.length === 0) return;
    inFlight += 1;
    let overdue = false;
    const timer = setTimeout(() => {
      overdue = true;
      slow += 1;
      placeNext();
    }, PATIENCE_MS);
    void placeBatch(db, waiting.splice(0, MAX_BATCH)).then(() => {
      clearTimeout(timer);
      inFlight -= 1;
      if (overdue) slow -= 1;
      placeNext();
    });
  };

  return (placement) =>
    new Promise((resolve, reject) => {
      waiting.push({ placement, resolve, reject });
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

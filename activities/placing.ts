import { LRUCache } from 'lru-cache';
import type { Db } from '../db/connect.ts';
import type { StepTaken } from '../db/order-steps.ts';
import type { PlaceOrder } from '../db/placement-queue.ts';
import type { Cancellation, PlacedOrder } from '../domain/order.ts';
import { failForGood, readStep, type StepResult } from './steps.ts';

export type PlaceAhead = ReturnType<typeof createPlacing>['placeAhead'];

export interface PlacingDeps {
  db: Db;
  /** Places an order together with others that come at the same time. */
  placeOrder: PlaceOrder;
  /** The payment company of new orders. */
  paymentProvider: string;
  /** Sees to all that follows from a step. */
  follow(taken: StepTaken): Promise<StepResult>;
}

/** A workflow asks some milliseconds after its start; who asks later reads what is written. */
const REMEMBERED_MS = 10_000;
const MAX_REMEMBERED = 1_000;

export function createPlacing({ db, placeOrder, paymentProvider: provider, follow }: PlacingDeps) {
  const begun = new LRUCache<string, Promise<StepResult | undefined>>({
    max: MAX_REMEMBERED,
    ttl: REMEMBERED_MS,
  });
  /** How the placing that was begun here ended: for the workflow's first try alone, any other may be about a later state. */
  const takeBegun = async (orderId: string): Promise<StepResult | undefined> => {
    const result = begun.get(orderId);
    begun.delete(orderId);
    return await result;
  };

  return {
    /**
     * The activity. Takes the stock, asks for the money and writes the order, or goes on from where an earlier try has come
     * to; and tries once to tell the customer. Where the payment company takes longer the order stays `pending` and
     * `unsettled`.
     */
    async placeOrder(order: PlacedOrder, cancellation: Cancellation | null): Promise<StepResult> {
      const result = await takeBegun(order.orderId);
      if (result) return result;
      const found = order.isPlaced && (await readStep(db, order.orderId).catch(() => undefined));
      const placed =
        found ||
        ((await placeOrder({ order, provider, cancellation }).catch(failForGood)) ??
          (await readStep(db, order.orderId)));
      return await follow(placed);
    },

    /**
     * Begins the same while the order's workflow is being started in this process, and goes on to the money when it is
     * `started`. Leaves word for the workflow, which is the caller's own until `claimedUntil`. Resolves as soon as the order
     * is written; false where it was before.
     */
    async placeAhead(order: PlacedOrder, claimedUntil: Date, started: Promise<unknown>): Promise<boolean> {
      const placing = placeOrder({ order, provider, cancellation: null, word: { claimedUntil } });
      const following = Promise.all([placing, started]).then(([placed]) => placed && follow(placed));
      const result = following.catch(() => undefined);
      // Of those that ask for one order at once, the first has begun it.
      if (!begun.has(order.orderId)) begun.set(order.orderId, result);
      return (await placing) !== undefined;
    },
  };
}

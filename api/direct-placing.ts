import type { StepTaken } from '../db/order-steps.ts';
import type { PlaceOrder } from '../db/placement-queue.ts';
import type { PlacedOrder } from '../domain/order.ts';
import type { OrderStatus } from '../domain/states.ts';

/** Places orders without their workflows. */
export interface DirectPlacing {
  /** Places an order and leaves word for its workflow, both or neither; undefined where it was placed before. */
  place(accepted: PlacedOrder): Promise<StepTaken | undefined>;
  /** Whether so many orders are being placed, or were a moment ago, that whatever can wait should. */
  isBurst(): boolean;
}

const BURST = 8;
/** So long after so many were under way more are expected. */
const BURST_LASTS_MS = 250;

export function createDirectPlacing(deps: {
  placeOrder: PlaceOrder;
  /** The payment company of new orders. */
  provider: string;
  countOutcome(status: OrderStatus): void;
  wakeDispatcher(): void;
}): DirectPlacing {
  let underWay = 0;
  let burstEndsAt = 0;
  return {
    isBurst: () => performance.now() < burstEndsAt,
    async place(order) {
      underWay += 1;
      if (underWay >= BURST) burstEndsAt = performance.now() + BURST_LASTS_MS;
      try {
        const { provider } = deps;
        const placed = await deps.placeOrder({
          order,
          provider,
          cancellation: null,
          word: { claimedUntil: null },
        });
        if (placed?.became) deps.countOutcome(placed.became);
        if (placed) deps.wakeDispatcher();
        return placed;
      } finally {
        underWay -= 1;
      }
    },
  };
}

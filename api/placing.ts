import { type Db, isDatabaseUnavailable } from '../db/connect.ts';
import type { StepTaken } from '../db/order-steps.ts';
import { findOrder, findOrderRecord } from '../db/orders.ts';
import { quoteOrder } from '../db/products.ts';
import { isTemporalUnavailable } from '../client/calls.ts';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import { invalidField, OrderPlatformError } from '../domain/errors.ts';
import { orderIdFor } from '../domain/ids.ts';
import { type Order, pendingOrder, type PlacedOrder } from '../domain/order.ts';
import { toOrder, toPlacedOrder } from '../domain/record.ts';
import { acceptOrder } from './accepting.ts';
import type { Lane, Lanes } from './lanes.ts';
import type { Outcomes } from './outcomes.ts';
import type { PriceMemory } from './price-memory.ts';
import { restart } from './restarting.ts';
import { requestHashOf } from './preconditions.ts';
import type { StartOrder } from './starting.ts';
import type { PlaceOrderRequest } from './order-schemas.ts';
import { actorOf, type Caller } from './tokens.ts';

export interface PlacingRequest {
  caller: Caller;
  key: string;
  route: string;
  request: PlaceOrderRequest;
  /** What a later request with the same key is compared with, where that is not the `request`. */
  compared?: unknown;
  /** The currency that the customer was shown; null where none was. */
  expectedCurrency?: string | null;
  /** Whether no earlier request with this key can have been accepted. */
  isFirst?: boolean;
  waitMs: number;
}

/**
 * Accepts an order, starts its workflow and waits up to `waitMs` for the outcome. The same caller, route and key give
 * the same order again (`replayed`), or `idempotency_key_reused` for another request.
 */
export type PlaceOrder = (wanted: PlacingRequest) => Promise<{ order: Order; replayed: boolean }>;

interface Taken {
  lane: Lane;
  /** Temporal did not answer when its workflow was to be started. */
  startFailed: boolean;
  /** The order as it was placed directly. */
  placed?: Order;
}

export interface PlacingDeps {
  db: Db;
  workflows: OrderWorkflows;
  outcomes: Outcomes;
  lanes: Lanes;
  prices: PriceMemory;
  start: StartOrder;
  /**
   * Places an order and leaves word for its workflow, all at once; undefined where it was placed before. What the
   * workflow's own placing does is the same.
   */
  placeDirectly(accepted: PlacedOrder): Promise<StepTaken | undefined>;
  /** Counts the orders that each lane has taken. */
  countAccepted(lane: Lane): void;
  /** The time within which an order is promised to be shipped. */
  shipWithinMs: number;
}

/**
 * Another process may hear of an outcome alone: whoever waits looks for himself after so long, and then less and less
 * often. Who asks again may have come just after the announcement, and looks soon.
 */
const FIRST_LOOK_MS = 2_000;
const FIRST_LOOK_AGAIN_MS = 500;

export function createPlacing({
  db,
  workflows,
  outcomes,
  lanes,
  prices,
  start,
  placeDirectly,
  countAccepted,
  shipWithinMs,
}: PlacingDeps): PlaceOrder {
  /** The order is accepted: that its outcome cannot be read now is no reason to refuse it. */
  const look = (orderId: string) => findOrder(db, orderId).catch(() => undefined);

  /**
   * Hears the outcome of what `begin` begins. `begin` says until when to wait, by `performance.now()`; where it says
   * undefined, it began nothing, and there is no outcome.
   */
  const awaitOutcome = async (
    accepted: PlacedOrder,
    begin: () => Promise<number | undefined>,
    firstLookMs = FIRST_LOOK_MS,
  ): Promise<Order | undefined> => {
    const outcome = outcomes.expect(accepted.orderId);
    try {
      const until = await begin();
      if (until === undefined) return undefined;
      let seen = await outcome.wait(0);
      let left = until - performance.now();
      for (let pause = firstLookMs; !isSettled(seen) && left > 0; left -= pause, pause *= 2) {
        seen = (await outcome.wait(Math.min(left, pause))) ?? (await look(accepted.orderId));
      }
      return seen ?? pendingOrder(accepted);
    } finally {
      outcome.forget();
    }
  };

  /**
   * Answers a request whose order was accepted before: as it is now, waiting for its outcome where there is none yet.
   * A workflow that ended before it settled its order (terminated, say) is started again.
   */
  const replay = async (orderId: string, requestHash: string, waitMs: number): Promise<Order | undefined> => {
    const record = await findOrderRecord(db, orderId);
    const accepted = record ? toPlacedOrder(record) : await workflows.findAccepted(orderId);
    if (!accepted) return undefined;
    assertSame(accepted, requestHash);
    if (record && (record.status !== 'pending' || !workflows.areReachable())) return toOrder(record);
    const until = performance.now() + waitMs;
    const begin = async () => {
      try {
        await restart({ db, workflows }, accepted);
      } catch (error) {
        if (!record || !isTemporalUnavailable(error)) throw error;
      }
      return until;
    };
    return await awaitOutcome(accepted, begin, FIRST_LOOK_AGAIN_MS);
  };

  /** What an order costs, or what it cost a moment ago where Postgres does not answer: then `remembered`. */
  const quote = async (orderId: string, customerId: string, skus: string[]) => {
    try {
      const quoted = await quoteOrder(db, { orderId, customerId, skus });
      prices.remember(customerId, skus, quoted);
      return { ...quoted, remembered: false };
    } catch (error) {
      const remembered = isDatabaseUnavailable(error) ? prices.recall(customerId, skus) : undefined;
      if (!remembered) throw error;
      return { ...remembered, remembered: true };
    }
  };

  /** Starts the workflow of an order while Postgres is away: it places the order when Postgres is back. */
  const startUnplaced = async (accepted: PlacedOrder) => {
    if (await workflows.start(accepted)) {
      countAccepted('workflow');
      return { order: pendingOrder(accepted), replayed: false };
    }
    const before = await workflows.findPending(accepted.orderId);
    if (!before)
      throw new OrderPlatformError('unavailable', 'The order cannot be read now. Please try again.');
    assertSame(before, accepted.requestHash);
    return { order: pendingOrder(before), replayed: true };
  };

  /** Takes an order in its lane, or directly where its workflow does not start. Undefined where it was accepted before. */
  const takeIn = async (lane: Lane, accepted: PlacedOrder): Promise<Taken | undefined> => {
    if (lane === 'workflow') {
      try {
        const taken = await start(accepted);
        return taken && { lane: taken, startFailed: taken === 'direct' };
      } catch (error) {
        if (!isTemporalUnavailable(error)) throw error;
      }
    }
    const step = await placeDirectly(accepted);
    if (!step) return undefined;
    const placed = toOrder(step.record);
    if (isSettled(placed)) outcomes.settle(placed);
    return { lane: 'direct', startFailed: lane === 'workflow', placed };
  };

  /** Whether the outcome may come soon: Temporal works, or is there again. */
  const mayComeSoon = async ({ lane, startFailed, placed }: Taken): Promise<boolean> => {
    if (lane === 'workflow' || isSettled(placed)) return true;
    return startFailed ? await workflows.isTemporalThere() : workflows.areReachable();
  };

  /** Takes an order, and waits for its outcome where that may come soon. Undefined where it was accepted before. */
  const take = async (lane: Lane, accepted: PlacedOrder, waitMs: number): Promise<Order | undefined> => {
    const until = performance.now() + waitMs;
    let taken: Taken | undefined;
    const awaited = await awaitOutcome(accepted, async () => {
      taken = await takeIn(lane, accepted);
      if (!taken) return undefined;
      countAccepted(taken.lane);
      return performance.now() < until && (await mayComeSoon(taken)) ? until : 0;
    });
    return awaited?.status === 'pending' ? (taken?.placed ?? awaited) : awaited;
  };

  return async ({
    caller,
    key,
    route,
    request,
    compared = request,
    expectedCurrency = null,
    isFirst = false,
    waitMs,
  }) => {
    const orderId = orderIdFor(caller.id, route, key);
    const requestHash = requestHashOf(compared);
    const again = async () => {
      const order = await replay(orderId, requestHash, waitMs);
      return order && { order, replayed: true };
    };

    const customerId = customerOf(caller, request);
    const skus = [...new Set(request.lines.map((line) => line.sku))];
    const quoted = await quote(orderId, customerId, skus);
    if (quoted.requestHash !== null) return (await again())!;

    let accepted: PlacedOrder;
    try {
      const placedBy = actorOf(caller);
      accepted = acceptOrder({
        orderId,
        requestHash,
        customerId,
        placedBy,
        request,
        quote: quoted,
        expectedCurrency,
        shipWithinMs,
      });
    } catch (error) {
      // What was accepted before stays accepted, whatever the catalogue says now.
      const before = isFirst ? undefined : await again();
      if (before) return before;
      throw error;
    }

    if (quoted.remembered) return await startUnplaced(accepted);
    const order = await lanes.enter((lane) => take(lane, accepted, waitMs));
    if (order) return { order, replayed: false };
    return (await again()) ?? { order: pendingOrder(accepted), replayed: true };
  };
}

const isSettled = (order: Order | undefined): boolean => order !== undefined && order.status !== 'pending';

/** Throws `idempotency_key_reused` where an order was accepted for another request. */
function assertSame(accepted: PlacedOrder, requestHash: string): void {
  if (accepted.requestHash === requestHash) return;
  throw new OrderPlatformError(
    'idempotency_key_reused',
    'This Idempotency-Key was used for an order with another body.',
  );
}

function customerOf(caller: Caller, request: PlaceOrderRequest): string {
  if (caller.role !== 'customer') {
    if (request.customerId !== undefined) return request.customerId;
    throw invalidField('/customerId', 'Staff must say whose order it is.');
  }
  if (request.customerId === undefined || request.customerId === caller.id) return caller.id;
  throw new OrderPlatformError('forbidden', 'A customer orders for itself only.');
}

import { ApplicationFailure } from '@temporalio/activity';
import type { Db } from '../db/connect.ts';
import * as orders from '../db/orders.ts';
import * as placement from '../db/placement.ts';
import type { Cancellation, OrderStatus, PlacedOrder } from '../domain/order.ts';

export interface OrderActivityDeps {
  db: Db;
  /** Tells whoever waits for the outcome of a placement. Must not throw. */
  announce(placed: placement.Placement): void;
  /** Counts how orders end. */
  countOutcome(status: OrderStatus): void;
}

/** What the workflow has to know of a placement. It is stored in the history: nothing personal belongs here. */
export interface PlacementResult {
  status: OrderStatus;
  reason?: string;
  notificationId: string;
}

export const createOrderActivities = ({ db, announce, countOutcome }: OrderActivityDeps) => ({
  /** Takes the stock and writes the order, all or nothing; idempotent by the order's id. */
  async placeOrder(order: PlacedOrder, cancellation: Cancellation | null): Promise<PlacementResult> {
    const placed = await placement.placeOrder(db, order, cancellation).catch(failForGood);
    announce(placed);
    if (!placed.replayed) countOutcome(placed.status);
    const reason = placed.rejection?.code ?? placed.cancellation?.reason ?? undefined;
    return {
      status: placed.status,
      ...(reason !== undefined && { reason }),
      notificationId: placed.notificationId,
    };
  },

  /** Cancels the order and releases its stock, all or nothing; idempotent. */
  async cancelOrder(
    orderId: string,
    cancellation: Cancellation,
    expectedVersion?: number,
  ): Promise<orders.CancelOutcome> {
    const cancelled = await orders.cancelOrder(db, orderId, cancellation, expectedVersion).catch(failForGood);
    if (cancelled.outcome === 'cancelled') countOutcome('cancelled');
    return cancelled;
  },
});

/** Data that Postgres will never take (SQLSTATE class 22) fails at once; all else is tried again. */
function failForGood(error: unknown): never {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string' && code.startsWith('22')) {
    throw ApplicationFailure.nonRetryable('The order cannot be stored.', 'validation_failed', {
      sqlState: code,
    });
  }
  throw error;
}

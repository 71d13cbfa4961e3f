import { ApplicationFailure } from '@temporalio/activity';
import type { Db } from '../db/connect.ts';
import * as cancelling from '../db/cancellation.ts';
import * as changing from '../db/order-changes.ts';
import * as placement from '../db/placement.ts';
import type { Cancellation, OrderChange, OrderStatus, PlacedOrder } from '../domain/order.ts';

export interface OrderActivityDeps {
  db: Db;
  /** Tells whoever waits for the outcome of a placement. Must not throw. */
  announce(placed: placement.Placement): void;
  /** Counts how orders end. */
  countOutcome(status: OrderStatus): void;
  /** Sends a notification. */
  send(notificationId: string): Promise<unknown>;
}

/** A message about the order: with `told` it is dealt with, without it somebody has to keep trying to send it. */
export interface Told {
  notificationId: string;
  told: boolean;
}

/** What the workflow has to know of a placement. It is stored in the history, so no more than that belongs here. */
export interface PlacementResult extends Told {
  status: OrderStatus;
  reason?: string;
}

export type CancelResult =
  | ({ outcome: 'cancelled'; reason?: string } & Told)
  | Extract<cancelling.CancelOutcome, { outcome: 'illegal' | 'version_conflict' }>;

/** A first try to send may take so long; then the order goes on without it. */
const FIRST_TRY_MS = 3_000;

export const createOrderActivities = ({ db, announce, countOutcome, send }: OrderActivityDeps) => {
  const tell = async (notificationId: string): Promise<Told> => {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), FIRST_TRY_MS);
    });
    const sent = send(notificationId).then(
      () => true,
      () => false,
    );
    const told = await Promise.race([sent, tooLate]);
    clearTimeout(timer);
    return { notificationId, told };
  };

  return {
    /**
     * Takes the stock and writes the order, all or nothing, and tries once to tell the customer. Idempotent by the
     * order's id.
     */
    async placeOrder(order: PlacedOrder, cancellation: Cancellation | null): Promise<PlacementResult> {
      const placed = await placement.placeOrder(db, order, cancellation).catch(failForGood);
      announce(placed);
      if (!placed.replayed) countOutcome(placed.status);
      const reason = placed.rejection?.code ?? placed.cancellation?.reason ?? undefined;
      return {
        status: placed.status,
        ...(reason !== undefined && { reason }),
        ...(await tell(placed.notificationId)),
      };
    },

    /** Changes the order's shipping address or note. Idempotent. */
    changeOrder: (
      orderId: string,
      change: OrderChange,
      by: string,
      expectedVersion?: number,
    ): Promise<changing.ChangeOutcome> =>
      changing.changeOrder(db, orderId, change, by, expectedVersion).catch(failForGood),

    /** Cancels the order and releases its stock, all or nothing, and tries once to tell the customer. Idempotent. */
    async cancelOrder(
      orderId: string,
      cancellation: Cancellation,
      expectedVersion?: number,
    ): Promise<CancelResult> {
      const cancelled = await cancelling
        .cancelOrder(db, orderId, cancellation, expectedVersion)
        .catch(failForGood);
      if (cancelled.outcome === 'illegal' || cancelled.outcome === 'version_conflict') return cancelled;
      if (cancelled.outcome === 'cancelled') countOutcome('cancelled');
      const { reason, notificationId } = cancelled;
      return { outcome: 'cancelled', ...(reason !== null && { reason }), ...(await tell(notificationId)) };
    },
  };
};

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

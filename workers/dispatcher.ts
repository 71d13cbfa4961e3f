import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import type { Db } from '../db/connect.ts';
import { findOrder } from '../db/orders.ts';
import { claimWaiting, settleClaim } from '../db/outbox.ts';
import type { PlacedOrder } from '../domain/order.ts';
import { isOutage, startRounds } from './rounds.ts';

/** Tells the workflows of orders that were placed or cancelled without them, the oldest first. */
export interface Dispatcher {
  /** Says that an order waits; else it looks once a second. */
  wake(): void;
  /** Whether more orders wait than it takes at a time, as far as it saw last. */
  isBehind(): boolean;
  /** Ends after what has begun. */
  stop(): Promise<void>;
}

const BATCH = 64;
/** So many starts at once keep Temporal busy; more would only wait there. */
const CONCURRENCY = 16;
/** While orders are still coming in numbers, so that those are taken first. */
const CONCURRENCY_IN_BURST = 1;
/** Another dispatcher goes on after that; telling twice does no harm. */
const CLAIM_SECONDS = 15;
const LOOK_EVERY_MS = 1_000;
const RETRY_MS = 500;

export interface DispatcherOptions {
  db: Db;
  workflows: OrderWorkflows;
  logger: Logger;
  /** Only what has waited for so long: the processes that take the orders are the first to tell. */
  minAgeSeconds: number;
  /** Whether orders are coming in faster than this process could tell their workflows. */
  isBurst(): boolean;
}

export function startDispatcher({
  db,
  workflows,
  logger,
  minAgeSeconds,
  isBurst,
}: DispatcherOptions): Dispatcher {
  const slots = pLimit(CONCURRENCY);
  let behind = false;

  /** Starts the workflow; where that was done before it may still not know that the order is cancelled. */
  const tell = async (accepted: PlacedOrder): Promise<void> => {
    if (await workflows.start({ ...accepted, isPlaced: true })) return;
    const order = await findOrder(db, accepted.orderId);
    if (order?.cancellation) await workflows.cancelIfRunning(order.id);
  };

  /** Tells one batch; false where nothing more is to be done for now. */
  const dispatch = async (ending: AbortSignal): Promise<boolean> => {
    slots.concurrency = isBurst() ? CONCURRENCY_IN_BURST : CONCURRENCY;
    const limit = isBurst() ? CONCURRENCY : BATCH;
    const claim = await claimWaiting(db, { limit, seconds: CLAIM_SECONDS, minAgeSeconds });
    behind = claim.orders.length === limit;
    if (claim.orders.length === 0) return false;
    const told: string[] = [];
    const untold: string[] = [];
    let failure: unknown;
    await Promise.all(
      claim.orders.map((accepted) =>
        slots(() => (ending.aborted || failure ? Promise.reject(failure) : tell(accepted))).then(
          () => told.push(accepted.orderId),
          (error: unknown) => {
            if (ending.aborted || isOutage(error)) {
              failure ??= error;
              untold.push(accepted.orderId);
              return;
            }
            // Its claim runs out, and it is tried again; meanwhile it keeps nobody else waiting.
            logger.error(
              { err: error, orderId: accepted.orderId },
              'The workflow of an order cannot be told',
            );
          },
        ),
      ),
    );
    await settleClaim(db, claim, told, untold);
    if (failure) throw failure;
    return true;
  };

  const { wake, stop } = startRounds({
    round: async (ending) => ((await dispatch(ending)) ? 0 : LOOK_EVERY_MS),
    retryMs: RETRY_MS,
    logger,
    failed: 'The workflows of waiting orders cannot be told',
    recovered: 'The workflows of waiting orders can be told again',
  });
  return { wake, stop, isBehind: () => behind };
}

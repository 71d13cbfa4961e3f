import type { OrderWorkflows } from '../client/order-workflows.ts';
import { type Db, isDatabaseUnavailable } from '../db/connect.ts';
import { findOrder, findOrderByNumber } from '../db/orders.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import { type Order, pendingOrder, type PlacedOrder } from '../domain/order.ts';
import { ORDER_NUMBER } from './order-schemas.ts';
import type { Caller } from './tokens.ts';

/** Reads the order that a path names by id or number. Throws `not_found`, also for somebody else's. */
export type ReadOrder = (idOrNumber: string, caller: Caller) => Promise<Order>;

/**
 * An accepted order may not be in the database yet: then its workflow tells. While Postgres does not answer only those
 * can be read.
 */
export const createOrderReader =
  ({ db, workflows }: { db: Db; workflows: OrderWorkflows }): ReadOrder =>
  async (idOrNumber, caller) => {
    const byNumber = ORDER_NUMBER.test(idOrNumber);
    const stored = (byNumber ? findOrderByNumber : findOrder)(db, idOrNumber);
    const found = await stored.then(
      async (order) =>
        order ??
        pending(
          await (byNumber ? workflows.findAcceptedByNumber(idOrNumber) : workflows.findAccepted(idOrNumber)),
        ),
      async (error: unknown) => {
        const unplaced =
          isDatabaseUnavailable(error) && !byNumber ? await workflows.findPending(idOrNumber) : undefined;
        if (!unplaced) throw error;
        return pendingOrder(unplaced);
      },
    );
    if (!found || !mayRead(caller, found)) throw noSuchOrder();
    return found;
  };

/** Customers see their own orders, the staff everybody's. */
export const mayRead = (caller: Caller, { customerId }: Pick<Order, 'customerId'>): boolean =>
  caller.role !== 'customer' || caller.id === customerId;

const noSuchOrder = () => new OrderPlatformError('not_found', 'There is no such order.');

const pending = (accepted: PlacedOrder | undefined): Order | undefined => accepted && pendingOrder(accepted);

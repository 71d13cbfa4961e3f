import type { OrderWorkflows } from '../client/order-workflows.ts';
import type { Db } from '../db/connect.ts';
import { findOrder, findOrderByNumber } from '../db/orders.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import { type Order, pendingOrder, type PlacedOrder } from '../domain/order.ts';
import { ORDER_NUMBER } from './order-schemas.ts';
import type { Caller } from './tokens.ts';

/** Reads the order that a path names by id or number. Throws `not_found`, also for somebody else's. */
export type ReadOrder = (idOrNumber: string, caller: Caller) => Promise<Order>;

/** An accepted order may not be in the database yet: then its workflow tells. */
export const createOrderReader =
  ({ db, workflows }: { db: Db; workflows: OrderWorkflows }): ReadOrder =>
  async (idOrNumber, caller) => {
    const found = ORDER_NUMBER.test(idOrNumber)
      ? ((await findOrderByNumber(db, idOrNumber)) ??
        pending(await workflows.findAcceptedByNumber(idOrNumber)))
      : ((await findOrder(db, idOrNumber)) ?? pending(await workflows.findAccepted(idOrNumber)));
    if (!found || !mayRead(caller, found)) throw noSuchOrder();
    return found;
  };

/** Customers see their own orders, the staff everybody's. */
export const mayRead = (caller: Caller, { customerId }: Pick<Order, 'customerId'>): boolean =>
  caller.role !== 'customer' || caller.id === customerId;

const noSuchOrder = () => new OrderPlatformError('not_found', 'There is no such order.');

const pending = (accepted: PlacedOrder | undefined): Order | undefined => accepted && pendingOrder(accepted);

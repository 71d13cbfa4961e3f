import type { OrderWorkflows } from '../client/order-workflows.ts';
import type { Db } from '../db/connect.ts';
import { recordRestart } from '../db/orders.ts';
import { isWaiting } from '../db/outbox.ts';
import type { PlacedOrder } from '../domain/order.ts';

/**
 * Starts the workflow of an order again where it is gone, and notes that in the order's timeline. Whether it would be
 * the first start is asked before: afterwards the dispatcher may have told the workflow, and the word is gone.
 */
export async function restart(
  { db, workflows }: { db: Db; workflows: OrderWorkflows },
  accepted: PlacedOrder,
): Promise<void> {
  const { orderId, isPlaced } = accepted;
  const isFirst = !isPlaced || (await isWaiting(db, orderId));
  if ((await workflows.restart(accepted)) && !isFirst) await recordRestart(db, orderId);
}

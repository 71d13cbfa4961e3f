import { heartbeat, log } from '@temporalio/activity';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import type { SideWorkflows } from '../client/side-workflows.ts';
import { listOldLocks, releaseForsaken, settleCart } from '../db/cart-checkout.ts';
import { deleteExpiredCarts, remindOfCarts } from '../db/cart-upkeep.ts';
import type { Db } from '../db/connect.ts';

export interface CartActivityDeps {
  db: Db;
  workflows: OrderWorkflows;
  sideflows: SideWorkflows;
}

const BATCH = 200;
/** One run takes at most so many batches of each; what is left waits for the next one. */
const BATCHES = 50;
/** One run looks at so many old locks. */
const LOCKS = 1000;

export const createCartActivities = ({ db, workflows, sideflows }: CartActivityDeps) => ({
  /**
   * Unlocks the carts that were ordered and that nobody has met since, forgets those that have expired, and reminds
   * customers of those that they seem to have forgotten. Answers with how many there were of each. Walks an index in
   * bounded batches; done twice, nobody is reminded twice.
   */
  async tendCarts(): Promise<{ unlocked: number; expired: number; reminded: number }> {
    let unlocked = 0;
    for (const { cartId, orderId, isPlaced } of await listOldLocks(db, LOCKS)) {
      heartbeat();
      try {
        if (isPlaced) await settleCart(db, cartId);
        else if (await workflows.findAccepted(orderId)) continue;
        else await releaseForsaken(db, cartId, orderId);
        unlocked += 1;
      } catch (error) {
        log.warn('A cart stays locked until the next run', { cartId, orderId, reason: String(error) });
      }
    }

    let expired = 0;
    for (let batch = 0; batch < BATCHES; batch += 1) {
      const deleted = await deleteExpiredCarts(db, BATCH);
      expired += deleted;
      heartbeat();
      if (deleted < BATCH) break;
    }

    let reminded = 0;
    for (let batch = 0; batch < BATCHES; batch += 1) {
      const { carts, notificationIds } = await remindOfCarts(db, BATCH);
      reminded += notificationIds.length;
      for (const id of notificationIds) {
        await sideflows.startNotification(id).catch((error: unknown) => {
          // It is written, and reconciling takes up what nobody sends.
          log.warn('A reminder is sent later', { notificationId: id, reason: String(error) });
        });
        heartbeat();
      }
      if (carts < BATCH) break;
    }
    return { unlocked, expired, reminded };
  },
});

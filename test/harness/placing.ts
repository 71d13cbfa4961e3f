import { connect } from '../../db/connect.ts';
import { createPlacementQueue } from '../../db/placement-queue.ts';
import type { PlacedOrder } from '../../domain/order.ts';

/**
 * A process of a test that places orders as a worker does: says `ready`, places all orders that it is sent, at once, and
 * answers with their statuses; null for an order that was placed before.
 */
const { db } = connect(process.argv[2]!, { max: 10, name: 'test-placing' });
const placeOrder = createPlacementQueue(db);

process.once('message', (orders: PlacedOrder[]) => {
  void Promise.all(
    orders.map(async (order) => {
      const taken = await placeOrder({ order, provider: 'mock', cancellation: null });
      return taken?.record.status ?? null;
    }),
  )
    .catch(String)
    .then(async (answer) => {
      process.send!(answer);
      await db.destroy();
      process.disconnect();
    });
});
process.send!('ready');

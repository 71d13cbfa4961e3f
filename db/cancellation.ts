import { sql } from 'kysely';
import { notificationIdFor } from '../domain/ids.ts';
import { type Cancellation, judge, type OrderStatus } from '../domain/order.ts';
import type { Db } from './connect.ts';

export type CancelOutcome =
  | { outcome: 'cancelled' | 'repeated'; reason: string | null; notificationId: string }
  | { outcome: 'illegal'; status: OrderStatus }
  | { outcome: 'version_conflict'; version: number };

/**
 * Cancels an order and releases all that it has reserved, in one transaction; the stock is computed from what the lock
 * returned, as in placeOrder. Idempotent: cancelled twice, or twice
 * at once, it releases once; the second time tells `repeated`. Throws where the order was never placed.
 */
export async function cancelOrder(
  db: Db,
  orderId: string,
  cancellation: Cancellation,
  expectedVersion?: number,
): Promise<CancelOutcome> {
  const notificationId = notificationIdFor(orderId, 'order.cancelled', 'email');
  return await db.transaction().execute(async (trx) => {
    const order = await trx
      .selectFrom('ordering.orders')
      .select(['status', 'version', 'cancellation'])
      .where('id', '=', orderId)
      .forUpdate()
      .executeTakeFirstOrThrow();
    const verdict = judge('cancel', order.status);
    if (verdict === 'repeat') {
      return { outcome: 'repeated', reason: order.cancellation?.reason ?? null, notificationId };
    }
    if (expectedVersion !== undefined && expectedVersion !== order.version) {
      return { outcome: 'version_conflict', version: order.version };
    }
    if (verdict === 'illegal') return { outcome: 'illegal', status: order.status };

    await sql`
      with units as (
        select position, sku, quantity - shipped_quantity - cancelled_quantity as quantity
        from ordering.order_lines
        where order_id = ${orderId} and quantity > shipped_quantity + cancelled_quantity
      ),
      locked as (
        select sku, on_hand, reserved, version
        from inventory.stock
        where sku in (select sku from units)
        order by sku
        for update
      ),
      released as (
        update inventory.stock
        set on_hand = locked.on_hand, reserved = locked.reserved - units.quantity, version = locked.version + 1,
          updated_at = now()
        from units join locked on locked.sku = units.sku
        where stock.sku = locked.sku
        returning stock.sku, units.quantity, stock.on_hand, stock.reserved
      ),
      ledger as (
        insert into inventory.movements (sku, type, quantity, order_id, on_hand_after, reserved_after)
        select sku, 'release', quantity, ${orderId}::uuid, on_hand, reserved from released order by sku
      ),
      order_lines as (
        update ordering.order_lines
        set cancelled_quantity = cancelled_quantity + units.quantity
        from units
        where order_id = ${orderId} and order_lines.position = units.position
      ),
      cancelled as (
        update ordering.orders
        set status = 'cancelled', cancellation = ${JSON.stringify(cancellation)}::jsonb, version = version + 1,
          last_event_seq = last_event_seq + 2, updated_at = now()
        where id = ${orderId}
        returning *
      ),
      timeline as (
        insert into ordering.order_events (order_id, seq, type, actor, data)
        select id, last_event_seq - 1, 'order.cancelled', ${cancellation.by},
          jsonb_build_object('reason', ${cancellation.reason}::text)
        from cancelled
        union all
        select id, last_event_seq, 'stock.released', 'system',
          jsonb_build_object('items', (select jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity)
            order by position) from units))
        from cancelled
      ),
      notification as (
        insert into messaging.notifications (id, channel, recipient, template, language, customer_id, order_id, event_type)
        select ${notificationId}::uuid, 'email', users.email, 'order-cancelled', users.language, users.id, cancelled.id,
          'order.cancelled'
        from cancelled join identity.users on users.id = cancelled.customer_id
        on conflict do nothing
      )
      select from cancelled
    `.execute(trx);
    return { outcome: 'cancelled', reason: cancellation.reason, notificationId };
  });
}

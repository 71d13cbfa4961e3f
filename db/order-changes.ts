import { sql } from 'kysely';
import { judge, type OrderChange, type OrderStatus } from '../domain/order.ts';
import type { Db } from './connect.ts';

export type ChangeOutcome =
  | { outcome: 'changed' | 'unchanged' }
  | { outcome: 'illegal'; status: OrderStatus }
  | { outcome: 'version_conflict'; version: number };

/**
 * Changes the shipping address or the note of an order that is not shipped. Idempotent: what is so already is left
 * alone, and raises no version. Throws where the order was never placed.
 */
export async function changeOrder(
  db: Db,
  orderId: string,
  change: OrderChange,
  by: string,
  expectedVersion?: number,
): Promise<ChangeOutcome> {
  return await db.transaction().execute(async (trx) => {
    const address = change.shippingAddress === undefined ? null : JSON.stringify(change.shippingAddress);
    const order = await trx
      .selectFrom('ordering.orders')
      .select(['status', 'version', 'note'])
      .select(sql<boolean>`coalesce(shipping_address <> ${address}::jsonb, false)`.as('moves'))
      .where('id', '=', orderId)
      .forUpdate()
      .executeTakeFirstOrThrow();
    const note = change.note === '' ? null : change.note;
    const renoted = note !== undefined && note !== order.note;
    if (!order.moves && !renoted) return { outcome: 'unchanged' };
    if (expectedVersion !== undefined && expectedVersion !== order.version) {
      return { outcome: 'version_conflict', version: order.version };
    }
    if (judge('change', order.status) === 'illegal') return { outcome: 'illegal', status: order.status };
    await sql`
      with changed as (
        update ordering.orders
        set shipping_address = coalesce(${address}::jsonb, shipping_address),
          note = case when ${renoted} then ${note ?? null}::text else note end,
          version = version + 1, updated_at = now(),
          last_event_seq = last_event_seq + case when ${order.moves} then 1 else 0 end
        where id = ${orderId}::uuid
        returning id, last_event_seq
      )
      insert into ordering.order_events (order_id, seq, type, actor)
      select id, last_event_seq, 'address.changed', ${by} from changed where ${order.moves}
    `.execute(trx);
    return { outcome: 'changed' };
  });
}

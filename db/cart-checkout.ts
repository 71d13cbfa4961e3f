import { sql } from 'kysely';
import { MAX_CART_ITEMS } from '../domain/cart.ts';
import { invalidField, OrderPlatformError } from '../domain/errors.ts';
import { cartLocked, type CartTerms, forgetEmptiness, fromNow, remindLater } from './carts.ts';
import type { Db, Trx } from './connect.ts';

/** What it takes from the lock to the start of an order's workflow ends long before that, by its own timeouts. */
const FORSAKEN_AFTER = sql`interval '2 minutes'`;

const orderExists = (orderId: string) =>
  sql<boolean>`exists (select from ordering.orders where id = ${orderId}::uuid)`;

/**
 * Locks a cart for an order and gives the order's lines, and the currency that the cart shows. The same order may lock it
 * again: a request sent twice goes on; `isFirst` where no other can be under way. No lines, and no lock, where the order is
 * placed already. Throws `cart_locked`, `cart_empty` or `validation_failed`.
 */
export async function lockCart(
  db: Db,
  cartId: string,
  orderId: string,
  terms: CartTerms,
): Promise<{ lines: { sku: string; quantity: number }[]; currency: string | null; isFirst: boolean }> {
  return await db.transaction().execute(async (trx) => {
    const cart = await trx
      .selectFrom('shopping.carts')
      .select(['order_id as orderId', 'currency'])
      .where('id', '=', cartId)
      .where(({ or, eb }) => or([eb('order_id', 'is not', null), eb('expires_at', '>', sql<Date>`now()`)]))
      .forUpdate()
      .executeTakeFirst();
    const { rows } = await sql<{ placed: boolean }>`select ${orderExists(orderId)} as placed`.execute(trx);
    if (rows[0]!.placed) return { lines: [], currency: null, isFirst: false };
    if (cart && cart.orderId !== null && cart.orderId !== orderId) throw cartLocked(cart.orderId);
    const lines = cart
      ? await trx
          .selectFrom('shopping.cart_items')
          .select(['sku', 'quantity'])
          .where('cart_id', '=', cartId)
          .orderBy('position')
          .execute()
      : [];
    if (lines.length === 0) throw new OrderPlatformError('cart_empty', 'There is nothing in the cart.');
    if (lines.length > MAX_CART_ITEMS) {
      throw invalidField('/lines', `An order has at most ${MAX_CART_ITEMS} products.`);
    }
    await trx
      .updateTable('shopping.carts')
      .set((row) => ({
        order_id: orderId,
        locked_at: sql<Date>`now()`,
        checkouts: row('checkouts', '+', 1),
        expires_at: fromNow(terms.expirySeconds),
        remind_at: remindLater(terms),
      }))
      .where('id', '=', cartId)
      .execute();
    return { lines, currency: cart!.currency, isFirst: cart!.orderId === null };
  });
}

/** Counts a request that had locked the cart as failed; the last one unlocks it, unless there is an order after all. */
export async function abandonCheckout(db: Db, cartId: string, orderId: string): Promise<void> {
  await sql`
    update shopping.carts
    set checkouts = checkouts - 1,
      order_id = case when checkouts > 1 then order_id end,
      locked_at = case when checkouts > 1 then locked_at end
    where id = ${cartId}::uuid and order_id = ${orderId}::uuid and not ${orderExists(orderId)}
  `.execute(db);
}

/**
 * Unlocks a cart whose order is settled: what was ordered is taken out of it, or, where the order was rejected, the items
 * of which there was not enough are marked. Nothing happens otherwise.
 */
export async function settleCart(db: Db, cartId: string): Promise<void> {
  await db.transaction().execute(async (trx) => {
    const cart = await trx
      .selectFrom('shopping.carts')
      .select('order_id as orderId')
      .where('id', '=', cartId)
      .forUpdate()
      .executeTakeFirst();
    if (!cart || cart.orderId === null) return;
    const order = await trx
      .selectFrom('ordering.orders')
      .select(['status', 'rejection'])
      .where('id', '=', cart.orderId)
      .executeTakeFirst();
    if (!order || order.status === 'pending') return;
    const { status, rejection } = order;
    const shortages = rejection?.code === 'insufficient_stock' ? rejection.items : [];
    if (status === 'rejected' || status === 'cancelled') await markShortages(trx, cartId, shortages);
    else await takeOrdered(trx, cartId, cart.orderId);
    await trx
      .updateTable('shopping.carts')
      .set({ order_id: null, locked_at: null, checkouts: 0 })
      .where('id', '=', cartId)
      .execute();
    await forgetEmptiness(trx, cartId);
  });
}

async function markShortages(
  trx: Trx,
  cartId: string,
  shortages: { sku: string; available: number }[],
): Promise<void> {
  await sql`
    update shopping.cart_items
    set available = (
      select short.available from jsonb_to_recordset(${JSON.stringify(shortages)}::jsonb) as short (sku text, available int)
      where short.sku = cart_items.sku
    )
    where cart_id = ${cartId}::uuid
  `.execute(trx);
}

/** What a login has added to the locked cart stays in it. */
async function takeOrdered(trx: Trx, cartId: string, orderId: string): Promise<void> {
  await sql`
    with ordered as (
      select sku, quantity from ordering.order_lines where order_id = ${orderId}::uuid
    ),
    gone as (
      delete from shopping.cart_items using ordered
      where cart_id = ${cartId}::uuid and cart_items.sku = ordered.sku and cart_items.quantity <= ordered.quantity
    )
    update shopping.cart_items set quantity = cart_items.quantity - ordered.quantity, available = null from ordered
    where cart_id = ${cartId}::uuid and cart_items.sku = ordered.sku and cart_items.quantity > ordered.quantity
  `.execute(trx);
}

/**
 * The carts with an old lock that may be over, the oldest first: those whose order is settled (`isPlaced`), and those whose
 * order ought to be placed by now, but is not.
 */
export async function listOldLocks(
  db: Db,
  limit: number,
): Promise<{ cartId: string; orderId: string; isPlaced: boolean }[]> {
  const { rows } = await sql<{ cartId: string; orderId: string; isPlaced: boolean }>`
    select carts.id as "cartId", order_id as "orderId", orders.id is not null as "isPlaced"
    from shopping.carts left join ordering.orders on orders.id = order_id
    where order_id is not null and locked_at < now() - ${FORSAKEN_AFTER} and status is distinct from 'pending'
    order by locked_at
    limit ${limit}
  `.execute(db);
  return rows;
}

/** The order that locks a cart and ought to be placed by now, but is not; undefined where there is none. */
export async function findForsakenLock(db: Db, cartId: string): Promise<string | undefined> {
  const { rows } = await sql<{ orderId: string }>`
    select order_id as "orderId" from shopping.carts
    where id = ${cartId}::uuid and locked_at < now() - ${FORSAKEN_AFTER}
      and not exists (select from ordering.orders where orders.id = order_id)
  `.execute(db);
  return rows[0]?.orderId;
}

/** Unlocks a cart that an order locks which there will never be. */
export async function releaseForsaken(db: Db, cartId: string, orderId: string): Promise<void> {
  await sql`
    update shopping.carts set order_id = null, locked_at = null, checkouts = 0
    where id = ${cartId}::uuid and order_id = ${orderId}::uuid and locked_at < now() - ${FORSAKEN_AFTER}
      and not ${orderExists(orderId)}
  `.execute(db);
}

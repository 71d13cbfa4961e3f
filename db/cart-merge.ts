import { sql } from 'kysely';
import { MAX_QUANTITY } from '../domain/cart.ts';
import type { Trx } from './connect.ts';

/**
 * Puts what is in a visitor's cart into a customer's, also into one that is just being ordered, and forgets the
 * visitor's: both or neither, and of several at once only one. Quantities add up, to 10,000 at most. False where the two
 * carts have different currencies; then both stay as they are.
 */
export async function mergeCarts(
  trx: Trx,
  visitorCartId: string,
  owner: { cartId: string; customerId: string },
): Promise<boolean> {
  const visitors = await trx
    .selectFrom('shopping.carts')
    .select(['currency', 'expires_at', 'remind_at'])
    .where('id', '=', visitorCartId)
    .where('expires_at', '>', sql<Date>`now()`)
    .forUpdate()
    .executeTakeFirst();
  if (!visitors) return true;

  await trx
    .deleteFrom('shopping.carts')
    .where('id', '=', owner.cartId)
    .where('order_id', 'is', null)
    .where('expires_at', '<=', sql<Date>`now()`)
    .execute();
  const { expires_at, remind_at } = visitors;
  const customers = await trx
    .insertInto('shopping.carts')
    .values({
      id: owner.cartId,
      customer_id: owner.customerId,
      expires_at,
      ...(remind_at && { remind_at }),
    })
    .onConflict((conflict) =>
      conflict.column('id').doUpdateSet({
        expires_at: sql<Date>`greatest(carts.expires_at, excluded.expires_at)`,
        remind_at: sql<Date | null>`greatest(carts.remind_at, excluded.remind_at)`,
      }),
    )
    .returning('currency')
    .executeTakeFirstOrThrow();
  const currencies = [visitors.currency, customers.currency].filter((currency) => currency !== null);
  if (new Set(currencies).size > 1) return false;

  await sql`
    insert into shopping.cart_items (cart_id, sku, quantity, price)
    select ${owner.cartId}::uuid, sku, quantity, price
    from shopping.cart_items where cart_id = ${visitorCartId}::uuid order by position
    on conflict (cart_id, sku) do update
    set quantity = least(cart_items.quantity + excluded.quantity, ${MAX_QUANTITY}), price = excluded.price
  `.execute(trx);
  await trx
    .updateTable('shopping.carts')
    .set({ currency: currencies[0] ?? null })
    .where('id', '=', owner.cartId)
    .execute();
  await trx.deleteFrom('shopping.carts').where('id', '=', visitorCartId).execute();
  return true;
}

import { sql } from 'kysely';
import { type Cart, type CartRecord, MAX_CART_ITEMS, MAX_QUANTITY, toCart } from '../domain/cart.ts';
import { invalidField, OrderPlatformError } from '../domain/errors.ts';
import type { Db, Trx } from './connect.ts';

/** Whose cart it is; a visitor has no customerId. */
export interface CartOwner {
  cartId: string;
  customerId: string | null;
}

/** How long a cart is kept after it was last used, and when its customer is reminded of it. */
export interface CartTerms {
  expirySeconds: number;
  reminderSeconds: number;
}

export const fromNow = (seconds: number) => sql<Date>`now() + make_interval(secs => ${seconds})`;

/**
 * The cart with the names and prices of now, or undefined where there is none or it has expired. Of what there was not enough
 * when it was ordered it tells how much there is now.
 */
export async function findCart(db: Db | Trx, cartId: string): Promise<Cart | undefined> {
  const { rows } = await sql<CartRecord>`
    select carts.id, carts.currency, order_id is not null as locked, expires_at as "expiresAt", list as items
    from shopping.carts
    cross join lateral (
      select coalesce(jsonb_agg(jsonb_build_object(
        'sku', item.sku, 'name', coalesce(product.name, item.sku), 'quantity', quantity, 'addedPrice', item.price,
        'unitPrice', case when product.currency = carts.currency then product.price else item.price end,
        'available', case
          when product.active and product.currency = carts.currency then
            case when item.available is not null then coalesce(stock.on_hand - stock.reserved, 0) end
          else 0
        end
      ) order by position), '[]') as list
      from shopping.cart_items as item
      left join catalogue.products as product on product.sku = item.sku
      left join inventory.stock on stock.sku = item.sku
      where cart_id = carts.id
    ) as items
    where carts.id = ${cartId}::uuid and (expires_at > now() or order_id is not null)
  `.execute(db);
  return rows[0] && toCart(rows[0]);
}

/** When to remind of a cart that is used now, without a change: later, unless that was done. */
export const remindLater = ({ reminderSeconds }: CartTerms) =>
  sql<Date | null>`case when remind_at is not null then ${fromNow(reminderSeconds)} end`;

/** Counts looking at a cart as using it. */
export async function touchCart(db: Db, cartId: string, terms: CartTerms): Promise<void> {
  await sql`
    update shopping.carts
    set expires_at = ${fromNow(terms.expirySeconds)},
      remind_at = ${remindLater(terms)}
    where id = ${cartId}::uuid and expires_at > now()
  `.execute(db);
}

/**
 * Takes the cart for the rest of the transaction, made where there is none, and lets it be kept from now. What of it had
 * expired is gone. Throws `cart_locked` while it is being ordered.
 */
export async function openCart(
  trx: Trx,
  { cartId, customerId }: CartOwner,
  terms: CartTerms,
): Promise<{ currency: string | null }> {
  await trx
    .deleteFrom('shopping.carts')
    .where('id', '=', cartId)
    .where('order_id', 'is', null)
    .where('expires_at', '<=', sql<Date>`now()`)
    .execute();
  const cart = await trx
    .insertInto('shopping.carts')
    .values({
      id: cartId,
      customer_id: customerId,
      expires_at: fromNow(terms.expirySeconds),
      remind_at: fromNow(terms.reminderSeconds),
    })
    .onConflict((conflict) =>
      conflict.column('id').doUpdateSet(({ ref }) => ({
        expires_at: ref('excluded.expires_at'),
        remind_at: ref('excluded.remind_at'),
      })),
    )
    .returning(['currency', 'order_id as orderId'])
    .executeTakeFirstOrThrow();
  if (cart.orderId !== null) throw cartLocked(cart.orderId);
  return cart;
}

export const cartLocked = (orderId: string) =>
  new OrderPlatformError('cart_locked', 'The cart is being ordered. Please wait for the order.', {
    extra: { orderId },
  });

/** What an order of the cart would cost has to be a number that JSON can tell. */
async function checkTotal(trx: Trx, cartId: string): Promise<void> {
  const cart = await findCart(trx, cartId);
  if (cart && !Number.isSafeInteger(cart.total)) {
    throw invalidField('/quantity', 'The total is more than a cart can have.');
  }
}

/** Adds units of a product to an open cart, at the price of now. Throws `validation_failed`. */
export async function addToCart(
  trx: Trx,
  cartId: string,
  currency: string | null,
  { sku, quantity }: { sku: string; quantity: number },
): Promise<void> {
  const items = trx.selectFrom('shopping.cart_items').where('cart_id', '=', cartId);
  const product = await trx
    .selectFrom('catalogue.products')
    .select(['price', 'currency'])
    .select([
      items.where('sku', '=', sku).select('quantity').as('held'),
      items.select(({ fn }) => fn.countAll<number>().as('count')).as('count'),
    ])
    .where('sku', '=', sku)
    .where('active', '=', true)
    .executeTakeFirst();
  if (!product) throw invalidField('/sku', `There is no product ${sku}.`);
  if (currency !== null && currency !== product.currency) {
    throw invalidField(
      '/sku',
      `A cart has one currency, this one ${currency}; ${sku} costs ${product.currency}.`,
    );
  }
  if (product.held === null && Number(product.count) >= MAX_CART_ITEMS) {
    throw invalidField('/sku', `A cart has at most ${MAX_CART_ITEMS} products.`);
  }
  const units = (product.held ?? 0) + quantity;
  if (units > MAX_QUANTITY) {
    throw invalidField('/quantity', `With what is in the cart that is more than ${MAX_QUANTITY}.`);
  }
  await trx
    .insertInto('shopping.cart_items')
    .values({ cart_id: cartId, sku, quantity: units, price: product.price })
    .onConflict((conflict) =>
      conflict.columns(['cart_id', 'sku']).doUpdateSet({ quantity: units, price: product.price }),
    )
    .execute();
  await trx
    .updateTable('shopping.carts')
    .set({ currency: product.currency })
    .where('id', '=', cartId)
    .where('currency', 'is', null)
    .execute();
  await checkTotal(trx, cartId);
}

const notInCart = (sku: string) => new OrderPlatformError('not_found', `There is no ${sku} in the cart.`);

/** Sets how many units of a product an open cart has. Throws `not_found` where it has none, and `validation_failed`. */
export async function setQuantity(trx: Trx, cartId: string, sku: string, quantity: number): Promise<void> {
  const { numUpdatedRows } = await trx
    .updateTable('shopping.cart_items')
    .set({ quantity })
    .where('cart_id', '=', cartId)
    .where('sku', '=', sku)
    .executeTakeFirst();
  if (numUpdatedRows === 0n) throw notInCart(sku);
  await checkTotal(trx, cartId);
}

/** Takes a product out of an open cart. Throws `not_found` where it is not in there. */
export async function removeFromCart(trx: Trx, cartId: string, sku: string): Promise<void> {
  const { numDeletedRows } = await trx
    .deleteFrom('shopping.cart_items')
    .where('cart_id', '=', cartId)
    .where('sku', '=', sku)
    .executeTakeFirst();
  if (numDeletedRows === 0n) throw notInCart(sku);
  await forgetEmptiness(trx, cartId);
}

/** Takes everything out of an open cart. */
export async function emptyCart(trx: Trx, cartId: string): Promise<void> {
  await trx.deleteFrom('shopping.cart_items').where('cart_id', '=', cartId).execute();
  await forgetEmptiness(trx, cartId);
}

/** An empty cart has no currency, and nobody is reminded of it. */
export async function forgetEmptiness(trx: Trx, cartId: string): Promise<void> {
  await sql`
    update shopping.carts set currency = null, remind_at = null
    where id = ${cartId}::uuid and not exists (select from shopping.cart_items where cart_id = carts.id)
  `.execute(trx);
}

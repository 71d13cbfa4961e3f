import type { Response } from 'express';
import type { Logger } from 'pino';
import { isTemporalUnavailable } from '../client/calls.ts';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import { type CartOwner, type CartTerms, findCart, openCart, touchCart } from '../db/carts.ts';
import { findForsakenLock, releaseForsaken, settleCart } from '../db/cart-checkout.ts';
import type { Db, Trx } from '../db/connect.ts';
import type { UsedKey } from '../db/idempotency-keys.ts';
import { type Cart, toCart } from '../domain/cart.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import { oncePerKey } from './idempotent.ts';

/** Reads and changes carts. Everyone who meets a locked cart unlocks it where its order is settled. */
export interface Carts {
  read(owner: CartOwner): Promise<Cart>;
  /** Changes a cart in one transaction, and once for the key of the request. Throws `cart_locked`. */
  edit(
    owner: CartOwner,
    response: Response,
    change: (trx: Trx, cart: { currency: string | null }) => Promise<void>,
    used?: UsedKey,
  ): Promise<Cart>;
  /** Does what needs an unlocked cart, and again where its lock was over. Throws `cart_locked`. */
  unlocked<T>(cartId: string, action: () => Promise<T>): Promise<T>;
}

export interface CartsDeps {
  db: Db;
  workflows: OrderWorkflows;
  terms: CartTerms;
  logger: Logger;
}

/** Looking at a cart is written down when it moves the cart's end by a hundredth of its time. */
const WORTH_WRITING = 0.99;

export function createCarts({ db, workflows, terms, logger }: CartsDeps): Carts {
  const inTime = (share: number) => new Date(Date.now() + share * terms.expirySeconds * 1000);

  /** Unlocks a cart whose order is settled, or was never accepted: the API died between the lock and the start. */
  const resolveLock = async (cartId: string): Promise<void> => {
    await settleCart(db, cartId);
    const orderId = await findForsakenLock(db, cartId);
    if (orderId === undefined || !workflows.areReachable()) return;
    try {
      if (!(await workflows.findAccepted(orderId))) await releaseForsaken(db, cartId, orderId);
    } catch (error) {
      if (!isTemporalUnavailable(error)) throw error;
      logger.warn({ orderId }, 'Whether there is an order that locks a cart cannot be told now');
    }
  };

  const unlocked: Carts['unlocked'] = async (cartId, action) => {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof OrderPlatformError) || error.code !== 'cart_locked') throw error;
      await resolveLock(cartId);
      return await action();
    }
  };

  const find = async ({ cartId }: CartOwner): Promise<Cart> =>
    (await findCart(db, cartId)) ??
    toCart({ id: cartId, locked: false, items: [], currency: null, expiresAt: inTime(1) });

  return {
    unlocked,
    async read(owner) {
      const cart = await find(owner);
      const isStale = new Date(cart.expiresAt) < inTime(WORTH_WRITING);
      if (cart.status === 'locked') await resolveLock(owner.cartId);
      else if (isStale) await touchCart(db, owner.cartId, terms);
      else return cart;
      return await find(owner);
    },
    edit: (owner, response, change, used) =>
      unlocked(owner.cartId, async () => {
        await oncePerKey(db, used, response, async (trx) => change(trx, await openCart(trx, owner, terms)));
        return await find(owner);
      }),
  };
}

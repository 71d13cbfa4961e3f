import type { Logger } from 'pino';
import type { CartTerms } from '../db/carts.ts';
import { abandonCheckout, lockCart, settleCart } from '../db/cart-checkout.ts';
import type { Db } from '../db/connect.ts';
import { ERRORS, OrderPlatformError } from '../domain/errors.ts';
import { orderIdFor } from '../domain/ids.ts';
import type { Order } from '../domain/order.ts';
import { customersCart } from './cart-owner.ts';
import type { Carts } from './carts.ts';
import type { CheckoutRequest } from './cart-schemas.ts';
import type { PlaceOrder } from './placing.ts';
import type { Caller } from './tokens.ts';

const ROUTE = 'POST /v1/cart/checkout';

/**
 * Orders what is in the caller's cart, as `PlaceOrder` does. The cart is locked for the order first, and unlocked when
 * the order is settled, by this request or by whoever meets the cart next.
 */
export type CheckOut = (wanted: {
  caller: Caller;
  key: string;
  body: CheckoutRequest;
  waitMs: number;
}) => Promise<{ order: Order; replayed: boolean }>;

export interface CheckoutDeps {
  db: Db;
  carts: Carts;
  place: PlaceOrder;
  terms: CartTerms;
  logger: Logger;
}

export function createCheckout({ db, carts, place, terms, logger }: CheckoutDeps): CheckOut {
  return async ({ caller, key, body, waitMs }) => {
    const { cartId } = customersCart(caller);
    const orderId = orderIdFor(caller.id, ROUTE, key);
    const { lines, currency, isFirst } = await carts.unlocked(cartId, () =>
      lockCart(db, cartId, orderId, terms),
    );
    const request = { ...body, lines };
    try {
      const placed = await place({
        caller,
        key,
        route: ROUTE,
        request,
        compared: body,
        expectedCurrency: currency,
        isFirst,
        waitMs,
      });
      if (placed.order.status !== 'pending') {
        await settleCart(db, cartId).catch((error: unknown) =>
          logger.warn({ err: error, orderId }, 'A cart is still locked though its order is settled'),
        );
      }
      return placed;
    } catch (error) {
      // Any other error leaves open whether there is an order: the cart stays locked until that is known.
      if (lines.length > 0 && isRefusal(error)) await abandonCheckout(db, cartId, orderId);
      throw error;
    }
  };
}

const isRefusal = (error: unknown): error is OrderPlatformError =>
  error instanceof OrderPlatformError && ERRORS[error.code].status < 500;

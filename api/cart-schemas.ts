import { z } from 'zod';
import { CART_STATUSES, MAX_QUANTITY } from '../domain/cart.ts';
import { placeOrder } from './order-schemas.ts';
import { currency, money, sku, sum, timestamp } from './schemas.ts';

const quantity = z.int().min(1).max(MAX_QUANTITY);

/** The body of `POST /v1/cart/items`. */
export const addItem = z.strictObject({ sku, quantity }).meta({ id: 'AddCartItem' });

/** The body of `PATCH /v1/cart/items/:sku`. */
export const changeItem = z.strictObject({ quantity }).meta({ id: 'ChangeCartItem' });

/** The body of `POST /v1/cart/checkout`. */
export const checkout = placeOrder.omit({ customerId: true, lines: true }).meta({ id: 'Checkout' });
export type CheckoutRequest = z.output<typeof checkout>;

/** A cart, as every endpoint answers it. */
export const cart = z
  .object({
    id: z.guid(),
    status: z.enum(CART_STATUSES).meta({
      description:
        '`locked` while it is being ordered; `stock_unavailable` where an item has a `problem`: there is not enough ' +
        'of it, as far as the last try to order has told, or it is not sold any more',
    }),
    items: z.array(
      z.object({
        sku: z.string(),
        name: z.string(),
        quantity,
        unitPrice: money.meta({ description: 'The price of now, in minor units of the currency' }),
        previousUnitPrice: money.optional().meta({
          description: 'What it cost when it was last added, where that has changed',
        }),
        total: sum,
        problem: z.object({ requested: z.int(), available: z.int() }).optional(),
      }),
    ),
    currency: currency.nullable().meta({ description: 'That of its items; null while there are none' }),
    total: sum,
    expiresAt: timestamp,
  })
  .meta({ id: 'Cart' });

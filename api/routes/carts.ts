import type { Response } from 'express';
import { z } from 'zod';
import { addToCart, emptyCart, removeFromCart, setQuantity } from '../../db/carts.ts';
import type { Cart } from '../../domain/cart.ts';
import { cartOwnerOf } from '../cart-owner.ts';
import { addItem, cart, changeItem, checkout } from '../cart-schemas.ts';
import type { Carts } from '../carts.ts';
import type { CheckOut } from '../checkout.ts';
import { type Endpoint, endpoint } from '../endpoint.ts';
import { usedKey } from '../idempotent.ts';
import { readPreferredWait, requireIdempotencyKey } from '../preconditions.ts';
import { sku } from '../schemas.ts';
import { placing, sendPlaced } from './orders.ts';

const VISITORS_TOO = ['customer', 'nobody'] as const;
const itemSku = z.object({ sku });

/** The header by which a visitor's cart is known. */
const cartToken = {
  'X-Cart-Token': {
    description:
      'Without a login: the token that the first answer gave. A token that is not known is that of an empty cart; ' +
      'without one of ours the answer brings a new one',
  },
};
const answers = {
  200: {
    description: 'The cart as it is now',
    body: cart,
    headers: { 'X-Cart-Token': 'Without a login: send it from now on, and when logging in' },
  },
};

export interface CartDeps {
  carts: Carts;
  checkOut: CheckOut;
}

export function cartEndpoints({ carts, checkOut }: CartDeps): Endpoint[] {
  return [
    endpoint({
      method: 'get',
      path: '/v1/cart',
      tag: 'Cart',
      summary: "The caller's cart",
      access: VISITORS_TOO,
      headers: cartToken,
      answers,
      async handle({ caller, request, response }) {
        sendCart(response, await carts.read(cartOwnerOf(caller, request, response)));
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/cart',
      tag: 'Cart',
      summary: 'Empty the cart',
      access: VISITORS_TOO,
      headers: cartToken,
      answers,
      problems: ['cart_locked'],
      async handle({ caller, request, response }) {
        const owner = cartOwnerOf(caller, request, response);
        sendCart(response, await carts.edit(owner, response, (trx) => emptyCart(trx, owner.cartId)));
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/cart/items',
      tag: 'Cart',
      summary: 'Put units of a product into the cart, to those that are in there',
      access: VISITORS_TOO,
      body: addItem,
      headers: {
        ...cartToken,
        'Idempotency-Key': { description: 'Optional: the same key adds the units once' },
      },
      answers,
      problems: ['cart_locked', 'invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ body, caller, request, response }) {
        const owner = cartOwnerOf(caller, request, response);
        const used = usedKey(request, { id: owner.cartId }, body);
        const changed = await carts.edit(
          owner,
          response,
          (trx, { currency }) => addToCart(trx, owner.cartId, currency, body),
          used,
        );
        sendCart(response, changed);
      },
    }),
    endpoint({
      method: 'patch',
      path: '/v1/cart/items/:sku',
      tag: 'Cart',
      summary: 'Set how many units of a product are in the cart',
      access: VISITORS_TOO,
      params: itemSku,
      body: changeItem,
      headers: cartToken,
      answers,
      problems: ['not_found', 'cart_locked'],
      async handle({ params, body, caller, request, response }) {
        const owner = cartOwnerOf(caller, request, response);
        const changed = await carts.edit(owner, response, (trx) =>
          setQuantity(trx, owner.cartId, params.sku, body.quantity),
        );
        sendCart(response, changed);
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/cart/items/:sku',
      tag: 'Cart',
      summary: 'Take a product out of the cart',
      access: VISITORS_TOO,
      params: itemSku,
      headers: cartToken,
      answers,
      problems: ['not_found', 'cart_locked'],
      async handle({ params, caller, request, response }) {
        const owner = cartOwnerOf(caller, request, response);
        const changed = await carts.edit(owner, response, (trx) =>
          removeFromCart(trx, owner.cartId, params.sku),
        );
        sendCart(response, changed);
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/cart/checkout',
      tag: 'Cart',
      summary: 'Place an order of what is in the cart',
      access: ['customer'],
      body: checkout,
      ...placing,
      problems: [...placing.problems, 'cart_locked', 'cart_empty'],
      async handle({ body, caller, request, response }) {
        const key = requireIdempotencyKey(request);
        sendPlaced(response, await checkOut({ caller, key, body, waitMs: readPreferredWait(request) }));
      },
    }),
  ];
}

function sendCart(response: Response, found: Cart): void {
  response.setHeader('Cache-Control', 'no-store').json(found);
}

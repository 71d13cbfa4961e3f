import { createHash, randomBytes } from 'node:crypto';
import type { Request, Response } from 'express';
import type { CartOwner } from '../db/carts.ts';
import { mergeCarts } from '../db/cart-merge.ts';
import type { Trx } from '../db/connect.ts';
import { cartIdFor } from '../domain/ids.ts';
import type { Caller } from './tokens.ts';

const HEADER = 'X-Cart-Token';
/** 256 random bits; only their hash is kept, as the id of the cart. */
const TOKEN = /^[\w-]{43}$/;

export const customersCart = ({ id }: Pick<Caller, 'id'>) => ({
  cartId: cartIdFor('customer', id),
  customerId: id,
});

const visitorsCartId = (token: string): string =>
  cartIdFor('visitor', createHash('sha256').update(token).digest('base64url'));

const givenToken = (request: Request): string | undefined => {
  const token = request.get(HEADER);
  return token !== undefined && TOKEN.test(token) ? token : undefined;
};

/** Whose cart a request is about. A visitor is answered the token, a new one where the request brings none of ours. */
export function cartOwnerOf(caller: Caller | undefined, request: Request, response: Response): CartOwner {
  if (caller) return customersCart(caller);
  const token = givenToken(request) ?? randomBytes(32).toString('base64url');
  response.setHeader(HEADER, token);
  return { cartId: visitorsCartId(token), customerId: null };
}

/**
 * Puts the cart of a visitor who is just logging in into the customer's. Where the two cannot be one, the token is
 * answered again: it still works.
 */
export async function mergeVisitorsCart(
  trx: Trx,
  caller: Caller,
  request: Request,
  response: Response,
): Promise<void> {
  const token = givenToken(request);
  if (token === undefined || caller.role !== 'customer') return;
  const merged = await mergeCarts(trx, visitorsCartId(token), customersCart(caller));
  if (!merged) response.setHeader(HEADER, token);
}

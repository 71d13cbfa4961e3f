import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import {
  type CustomerAddress,
  deleteAddress,
  findAddress,
  insertAddress,
  listAddresses,
  replaceAddress,
} from '../../db/customer-addresses.ts';
import { findCustomer } from '../../db/customers.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { commandIdFor } from '../../domain/ids.ts';
import {
  customerAddress,
  customerId,
  customerMeant,
  CUSTOMERS_AND_ADMINS,
  noSuchCustomer,
} from '../customer-schemas.ts';
import { type Endpoint, endpoint } from '../endpoint.ts';
import { oncePerKey, usedKey } from '../idempotent.ts';
import { pageOf, pageQuery, readCursor, sendPage, timedPosition } from '../pagination.ts';
import { address, uuid } from '../schemas.ts';

const params = z.object({ id: customerId });
const oneParams = z.object({ id: customerId, addressId: uuid });
const tag = 'Customers';
const one = { description: 'The address', body: customerAddress };

/** The address book of a customer. Orders keep the address they were placed with, whatever becomes of it here. */
export function customerAddressEndpoints({ db }: { db: Db }): Endpoint[] {
  return [
    endpoint({
      method: 'get',
      path: '/v1/customers/:id/addresses',
      tag,
      summary: 'The addresses of a customer, newest first',
      access: CUSTOMERS_AND_ADMINS,
      params,
      query: z.object(pageQuery),
      answers: {
        200: {
          description: 'A page of addresses',
          body: pageOf(customerAddress),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ params: { id }, query: { limit, cursor }, caller, request, response }) {
        const owner = customerMeant(caller, id);
        const after = readCursor(cursor, timedPosition);
        const rows = await listAddresses(db, owner, { limit: limit + 1, after });
        if (rows.length === 0 && !(await findCustomer(db, owner))) throw noSuchCustomer();
        response.setHeader('Cache-Control', 'no-store');
        const positionOf = (row: CustomerAddress) => [row.createdAt, row.id];
        sendPage(request, response, { rows, limit, positionOf });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/customers/:id/addresses',
      tag,
      summary: 'Add an address',
      access: CUSTOMERS_AND_ADMINS,
      params,
      body: address,
      headers: { 'Idempotency-Key': { description: 'Optional: the same key adds one address' } },
      answers: { 201: { ...one, headers: { Location: 'Where it is' } } },
      problems: ['invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ params: { id }, body, caller, request, response }) {
        const owner = customerMeant(caller, id);
        const used = usedKey(request, caller, body);
        const addressId = used ? commandIdFor(used.caller, used.route, used.key) : randomUUID();
        await oncePerKey(db, used, response, async (trx) => {
          if (!(await insertAddress(trx, owner, addressId, body))) throw noSuchCustomer();
        });
        const found = await findAddress(db, owner, addressId);
        if (!found) throw noSuchAddress();
        response
          .status(201)
          .setHeader('Location', `/v1/customers/${owner}/addresses/${addressId}`)
          .json(found);
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/customers/:id/addresses/:addressId',
      tag,
      summary: 'Read an address',
      access: CUSTOMERS_AND_ADMINS,
      params: oneParams,
      answers: { 200: one },
      async handle({ params: { id, addressId }, caller, response }) {
        const found = await findAddress(db, customerMeant(caller, id), addressId);
        if (!found) throw noSuchAddress();
        response.setHeader('Cache-Control', 'no-store').json(found);
      },
    }),
    endpoint({
      method: 'put',
      path: '/v1/customers/:id/addresses/:addressId',
      tag,
      summary: 'Replace an address',
      access: CUSTOMERS_AND_ADMINS,
      params: oneParams,
      body: address,
      answers: { 200: one },
      async handle({ params: { id, addressId }, body, caller, response }) {
        const put = await replaceAddress(db, customerMeant(caller, id), addressId, body);
        if (!put) throw noSuchAddress();
        response.json(put);
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/customers/:id/addresses/:addressId',
      tag,
      summary: 'Remove an address',
      access: CUSTOMERS_AND_ADMINS,
      params: oneParams,
      answers: { 204: { description: 'Removed' } },
      async handle({ params: { id, addressId }, caller, response }) {
        if (!(await deleteAddress(db, customerMeant(caller, id), addressId))) throw noSuchAddress();
        response.status(204).end();
      },
    }),
  ];
}

const noSuchAddress = (): OrderPlatformError =>
  new OrderPlatformError('not_found', 'There is no such address.');

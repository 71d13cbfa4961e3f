import { randomUUID } from 'node:crypto';
import type { Response } from 'express';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import {
  type Customer,
  emailTaken,
  findCustomer,
  insertCustomer,
  listCustomers,
  updateCustomer,
} from '../../db/customers.ts';
import { deleteCustomer, eraseTraces } from '../../db/erasure.ts';
import { findUser } from '../../db/users.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { commandIdFor } from '../../domain/ids.ts';
import {
  changeCustomer,
  createCustomer,
  customer,
  customerId,
  customerMeant,
  CUSTOMERS_AND_ADMINS,
  noSuchCustomer,
  putCustomer,
} from '../customer-schemas.ts';
import { ADMIN, type Endpoint, endpoint } from '../endpoint.ts';
import { oncePerKey, usedKey } from '../idempotent.ts';
import { pageOf, pageQuery, readCursor, sendPage, timedPosition } from '../pagination.ts';
import type { Passwords } from '../passwords.ts';
import { etagOf, readIfMatch } from '../preconditions.ts';
import { text } from '../schemas.ts';

const params = z.object({ id: customerId });
const tag = 'Customers';
const customerAnswer = { description: 'The customer', body: customer, headers: { ETag: 'Its version' } };
const ifMatch = {
  'If-Match': { description: 'Only if the customer is still at this version (its ETag)' },
};

export interface CustomerDeps {
  db: Db;
  passwords: Passwords;
  /** This process takes the tokens of a customer no more. */
  forgetCaller(id: string): void;
}

export function customerEndpoints({ db, passwords, forgetCaller }: CustomerDeps): Endpoint[] {
  /** The customer that this very request has added before. Its password is told by its slow hash alone. */
  const addedBefore = async (
    id: string,
    password: string | undefined,
    response: Response,
  ): Promise<Customer> => {
    const user = await findUser(db, id);
    const found = user && (await findCustomer(db, id));
    if (!found) throw noSuchCustomer();
    const { passwordHash } = user;
    const isSame =
      password === undefined
        ? passwordHash === null
        : await passwords.inTurn(() => passwords.matches(passwordHash, password));
    if (isSame) return found;
    response.removeHeader('Idempotent-Replayed');
    throw new OrderPlatformError(
      'idempotency_key_reused',
      'This Idempotency-Key was used for a customer with another password.',
    );
  };

  return [
    endpoint({
      method: 'get',
      path: '/v1/customers',
      tag,
      summary: 'List and search customers, newest first',
      access: ADMIN,
      query: z.object({
        q: text(100).optional().meta({ description: 'The start of a name, of a last name, or of an email' }),
        ...pageQuery,
      }),
      answers: {
        200: {
          description: 'A page of customers',
          body: pageOf(customer),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query: { q, limit, cursor }, request, response }) {
        const after = readCursor(cursor, timedPosition);
        const rows = await listCustomers(db, { q, limit: limit + 1, after });
        response.setHeader('Cache-Control', 'no-store');
        sendPage(request, response, { rows, limit, positionOf: ({ createdAt, id }) => [createdAt, id] });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/customers',
      tag,
      summary: 'Add a customer',
      access: ADMIN,
      body: createCustomer,
      headers: { 'Idempotency-Key': { description: 'Optional: the same key adds one customer' } },
      answers: {
        201: { ...customerAnswer, headers: { ...customerAnswer.headers, Location: 'Where it is' } },
      },
      problems: ['email_taken', 'not_found', 'invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ body: { password, ...details }, caller, request, response }) {
        // A fast hash of the password must not be stored, so the fingerprint of the request goes without it.
        const used = usedKey(request, caller, details);
        const id = used ? commandIdFor(used.caller, used.route, used.key) : randomUUID();
        const passwordHash =
          password === undefined ? null : await passwords.inTurn(() => passwords.hash(password));
        const added = await oncePerKey(db, used, response, async (trx) => {
          const inserted = await insertCustomer(trx, { ...details, id, passwordHash });
          if (!inserted) throw emailTaken();
          return inserted;
        });
        const found = added ?? (await addedBefore(id, password, response));
        response.status(201).setHeader('Location', `/v1/customers/${id}`);
        sendCustomer(response, found);
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/customers/:id',
      tag,
      summary: 'Read a customer',
      access: CUSTOMERS_AND_ADMINS,
      params,
      answers: { 200: customerAnswer },
      async handle({ params: { id }, caller, response }) {
        const found = await findCustomer(db, customerMeant(caller, id));
        if (!found) throw noSuchCustomer();
        sendCustomer(response, found);
      },
    }),
    endpoint({
      method: 'put',
      path: '/v1/customers/:id',
      tag,
      summary: 'Replace what is known of a customer',
      access: CUSTOMERS_AND_ADMINS,
      params,
      body: putCustomer,
      headers: ifMatch,
      answers: { 200: customerAnswer },
      problems: ['email_taken', 'version_conflict', 'invalid_header'],
      async handle({ params: { id }, body, caller, request, response }) {
        const put = await updateCustomer(db, customerMeant(caller, id), body, readIfMatch(request));
        if (!put) throw noSuchCustomer();
        sendCustomer(response, put);
      },
    }),
    endpoint({
      method: 'patch',
      path: '/v1/customers/:id',
      tag,
      summary: 'Change what is named of a customer',
      access: CUSTOMERS_AND_ADMINS,
      params,
      body: changeCustomer,
      headers: ifMatch,
      answers: { 200: customerAnswer },
      problems: ['email_taken', 'version_conflict', 'invalid_header'],
      async handle({ params: { id }, body, caller, request, response }) {
        const changed = await updateCustomer(db, customerMeant(caller, id), body, readIfMatch(request));
        if (!changed) throw noSuchCustomer();
        sendCustomer(response, changed);
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/customers/:id',
      tag,
      summary: 'Delete a customer: what tells who it was goes, its orders stay',
      access: CUSTOMERS_AND_ADMINS,
      params,
      headers: ifMatch,
      answers: { 204: { description: 'Deleted, now or before' } },
      problems: ['version_conflict', 'invalid_header'],
      async handle({ params: { id }, caller, request, response }) {
        const meant = customerMeant(caller, id);
        if (!(await deleteCustomer(db, meant, readIfMatch(request)))) throw noSuchCustomer();
        forgetCaller(meant);
        await eraseTraces(db, meant);
        response.status(204).end();
      },
    }),
  ];
}

function sendCustomer(response: Response, found: Customer): void {
  response.setHeader('ETag', etagOf(found.version)).setHeader('Cache-Control', 'no-store').json(found);
}

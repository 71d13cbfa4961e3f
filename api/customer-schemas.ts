import { z } from 'zod';
import { OrderPlatformError } from '../domain/errors.ts';
import { address, text, timestamp, uuid } from './schemas.ts';
import type { Caller } from './tokens.ts';

const email = z.email().max(254);

/** A password that somebody chooses. */
export const newPassword = z
  .string()
  .min(8)
  .max(1000)
  .refine((value) => !/\p{Surrogate}/u.test(value), 'Broken Unicode is not allowed')
  .meta({ format: 'password' });

/** The body of `POST /v1/auth/register`. */
export const registration = z
  .strictObject({ email, password: newPassword, name: text(200) })
  .meta({ id: 'Register' });

/** The body of `POST /v1/customers`. */
export const createCustomer = z
  .strictObject({
    email,
    name: text(200),
    password: newPassword.optional().meta({ description: 'Without one the customer cannot log in' }),
  })
  .meta({ id: 'CreateCustomer' });

/** The body of `PUT /v1/customers/:id`. */
export const putCustomer = z.strictObject({ email, name: text(200) }).meta({ id: 'PutCustomer' });

/** The body of `PATCH /v1/customers/:id`. */
export const changeCustomer = z
  .strictObject({ email: email.optional(), name: text(200).optional() })
  .refine((change) => Object.keys(change).length > 0, 'Name an email, a name, or both')
  .meta({ id: 'ChangeCustomer', minProperties: 1 });

/** A customer, as every endpoint answers it. */
export const customer = z
  .object({
    id: z.guid(),
    email: z.string(),
    name: z.string(),
    version: z.int(),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: 'Customer' });

/** An address of a customer, as every endpoint answers it. */
export const customerAddress = address
  .extend({ id: z.guid(), createdAt: timestamp, updatedAt: timestamp })
  .meta({ id: 'CustomerAddress' });

/** The `:id` of a customer in a path. */
export const customerId = z
  .union([z.literal('me'), uuid])
  .meta({ description: 'The id of a customer; `me` is the customer who calls' });

/** Which customer a path means. Throws `not_found` where a customer names another one. */
export function customerMeant(caller: Caller, id: z.output<typeof customerId>): string {
  const wanted = id === 'me' ? caller.id : id;
  if (caller.role === 'customer' && wanted !== caller.id) throw noSuchCustomer();
  return wanted;
}

export const noSuchCustomer = (): OrderPlatformError =>
  new OrderPlatformError('not_found', 'There is no such customer.');

/** Customers for themselves, admins for all. */
export const CUSTOMERS_AND_ADMINS = ['customer', 'admin'] as const;

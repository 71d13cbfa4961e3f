import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { findPreferences, putPreferences } from '../../db/preferences.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { EVERYBODY, type Endpoint, endpoint } from '../endpoint.ts';
import { preferences } from '../notification-schemas.ts';
import { uuid } from '../schemas.ts';
import type { Caller } from '../tokens.ts';

const params = z.object({ id: uuid.or(z.literal('me')) });
const path = '/v1/customers/:id/notification-preferences';
const tag = 'Notifications';
const answers = { 200: { description: 'How the customer is told', body: preferences } };

export function preferencesEndpoints({ db }: { db: Db }): Endpoint[] {
  /** The customer that a caller may mean: a customer itself. */
  const customerOf = (id: string, caller: Caller): string => {
    const meant = id === 'me' ? caller.id : id;
    if (caller.role === 'customer' && meant !== caller.id) throw noSuchCustomer();
    return meant;
  };
  const find = async (customerId: string) => {
    const found = await findPreferences(db, customerId);
    if (!found) throw noSuchCustomer();
    return found;
  };

  return [
    endpoint({
      method: 'get',
      path,
      tag,
      summary: 'Read how a customer wants to be told',
      access: EVERYBODY,
      params,
      answers,
      problems: ['not_found'],
      async handle({ params: { id }, caller, response }) {
        response.setHeader('Cache-Control', 'no-store').json(await find(customerOf(id, caller)));
      },
    }),
    endpoint({
      method: 'put',
      path,
      tag,
      summary: 'Set how a customer wants to be told',
      access: EVERYBODY,
      params,
      body: preferences,
      answers,
      problems: ['not_found', 'validation_failed'],
      async handle({ params: { id }, body, caller, response }) {
        const customerId = customerOf(id, caller);
        if (!(await putPreferences(db, customerId, body))) throw noSuchCustomer();
        response.setHeader('Cache-Control', 'no-store').json(await find(customerId));
      },
    }),
  ];
}

const noSuchCustomer = () => new OrderPlatformError('not_found', 'There is no such customer.');

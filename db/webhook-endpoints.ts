import { sql } from 'kysely';
import type { DisabledReason } from '../domain/webhooks.ts';
import type { Db } from './connect.ts';

export interface WebhookEndpoint {
  id: string;
  url: string;
  /** Which events it hears of; all where there is none. */
  eventTypes: string[];
  description: string;
  enabled: boolean;
  disabledReason: DisabledReason | null;
  createdAt: string;
  updatedAt: string;
}

export interface EndpointPosition {
  createdAt: Date;
  id: string;
}

export type EndpointFields = Pick<WebhookEndpoint, 'url' | 'eventTypes' | 'description' | 'enabled'>;

/** For how long after a rotation the old secret signs beside the new one. */
const OLD_SECRET_HOURS = 24;
/** Of those that were replaced before it, so many sign at most: each makes the header longer that receivers have to take. */
const MOST_OLDER = 3;

const columns = [
  'id',
  'url',
  'event_types as eventTypes',
  'description',
  'enabled',
  'disabled_reason as disabledReason',
  'created_at as createdAt',
  'updated_at as updatedAt',
] as const;

const toEndpoint = <T extends { createdAt: Date; updatedAt: Date }>(row: T) => ({
  ...row,
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

const living = (db: Db) => db.selectFrom('messaging.webhook_endpoints').where('deleted_at', 'is', null);

/** Makes an endpoint; false where there was one with this id, which stays. */
export async function createWebhookEndpoint(
  db: Db,
  endpoint: EndpointFields & { id: string; secret: string },
): Promise<boolean> {
  const { eventTypes, ...fields } = endpoint;
  const row = await db
    .insertInto('messaging.webhook_endpoints')
    .values({ ...fields, event_types: eventTypes })
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}

/** How many endpoints there are. */
export async function countWebhookEndpoints(db: Db): Promise<number> {
  const { count } = await living(db)
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow();
  return count;
}

/** The endpoint with this id, or undefined. */
export async function findWebhookEndpoint(db: Db, id: string): Promise<WebhookEndpoint | undefined> {
  const row = await living(db).select(columns).where('id', '=', id).executeTakeFirst();
  return row && toEndpoint(row);
}

/** The endpoints, newest first, from behind `after`. */
export async function listWebhookEndpoints(
  db: Db,
  page: { limit: number; after?: EndpointPosition | undefined },
): Promise<WebhookEndpoint[]> {
  const { limit, after } = page;
  const rows = await living(db)
    .select(columns)
    .$if(after !== undefined, (query) =>
      query.where(sql<boolean>`(created_at, id) < (${after!.createdAt}, ${after!.id}::uuid)`),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows.map(toEndpoint);
}

/** Changes an endpoint; one that is enabled anew starts without a past. Undefined where there is none. */
export async function changeWebhookEndpoint(
  db: Db,
  id: string,
  change: { [Field in keyof EndpointFields]?: EndpointFields[Field] | undefined },
): Promise<WebhookEndpoint | undefined> {
  const { eventTypes, url, description, enabled } = change;
  const row = await db
    .updateTable('messaging.webhook_endpoints')
    .set({
      updated_at: new Date(),
      ...(url !== undefined && { url }),
      ...(description !== undefined && { description }),
      ...(eventTypes && { event_types: eventTypes }),
      ...(enabled !== undefined && { enabled, disabled_reason: null }),
      ...(enabled === true && { failing_since: null }),
    })
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning(columns)
    .executeTakeFirst();
  return row && toEndpoint(row);
}

/** The secrets of an endpoint that were replaced and sign still, as (secret, until). */
export const replacedSecrets = sql`(
  select replaced.secret, until
  from (
    select previous_secret as secret, previous_secret_until as until
    union all
    select older ->> 'secret', (older ->> 'until')::timestamptz from jsonb_array_elements(older_secrets) as older
  ) as replaced
  where until > now()
)`;

/**
 * Gives an endpoint a new secret, beside which each one before signs for another day from when it was replaced. False where
 * there is no such endpoint.
 */
export async function rotateWebhookSecret(db: Db, id: string, secret: string): Promise<boolean> {
  const { rows } = await sql`
    update messaging.webhook_endpoints
    set secret = ${secret}, previous_secret = secret,
      previous_secret_until = now() + make_interval(hours => ${OLD_SECRET_HOURS}),
      older_secrets = (
        select coalesce(jsonb_agg(older), '[]')
        from (select * from ${replacedSecrets} as replaced order by until desc limit ${MOST_OLDER}) as older
      ),
      updated_at = now()
    where id = ${id}::uuid and deleted_at is null
    returning id
  `.execute(db);
  return rows.length > 0;
}

/** Takes an endpoint away, with its secrets; the log of its deliveries stays. False where there is none. */
export async function deleteWebhookEndpoint(db: Db, id: string): Promise<boolean> {
  const row = await db
    .updateTable('messaging.webhook_endpoints')
    .set({ deleted_at: new Date(), enabled: false, secret: '', previous_secret: null, older_secrets: '[]' })
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}

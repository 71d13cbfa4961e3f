import { type RawBuilder, sql } from 'kysely';
import {
  type DeliveryAttempt,
  DELIVERY_STATUSES,
  type DeliveryStatus,
  type Verdict,
  type WebhookPayload,
} from '../domain/webhooks.ts';
import type { Db } from './connect.ts';
import { callRelay } from './relay-calls.ts';
import { replacedSecrets } from './webhook-endpoints.ts';

export interface WebhookDelivery {
  id: string;
  endpointId: string;
  eventType: string;
  orderId: string | null;
  status: DeliveryStatus;
  attempts: DeliveryAttempt[];
  nextAttemptAt: string | null;
  createdAt: string;
  payload: WebhookPayload;
}

export interface DeliveryFilter {
  endpointId?: string | undefined;
  status?: DeliveryStatus | undefined;
  eventType?: string | undefined;
}

export interface DeliveryPosition {
  createdAt: Date;
  id: string;
}

const columns = [
  'id',
  'endpoint_id as endpointId',
  'event_type as eventType',
  'order_id as orderId',
  'status',
  'attempts',
  'next_attempt_at as nextAttemptAt',
  'created_at as createdAt',
  'payload',
] as const;

type DeliveryRow = Omit<WebhookDelivery, 'createdAt' | 'nextAttemptAt' | 'payload'> & {
  createdAt: Date;
  nextAttemptAt: Date | null;
  payload: string;
};

const toDelivery = (row: DeliveryRow): WebhookDelivery => ({
  ...row,
  nextAttemptAt: row.nextAttemptAt?.toISOString() ?? null,
  createdAt: row.createdAt.toISOString(),
  payload: JSON.parse(row.payload) as WebhookPayload,
});

/** The delivery with this id, or undefined. */
export async function findWebhookDelivery(db: Db, id: string): Promise<WebhookDelivery | undefined> {
  const row = await db
    .selectFrom('messaging.webhook_deliveries')
    .select(columns)
    .where('id', '=', id)
    .executeTakeFirst();
  return row && toDelivery(row);
}

/** The deliveries that match, newest first, from behind `after`. Each filter walks its index; without any, each status does. */
export async function listWebhookDeliveries(
  db: Db,
  { endpointId, status, eventType }: DeliveryFilter,
  { limit, after }: { limit: number; after?: DeliveryPosition | undefined },
): Promise<WebhookDelivery[]> {
  const pageOf = (...conditions: RawBuilder<unknown>[]) => sql`(
    select id, endpoint_id as "endpointId", event_type as "eventType", order_id as "orderId", status, attempts,
      next_attempt_at as "nextAttemptAt", created_at as "createdAt", payload
    from messaging.webhook_deliveries
    where ${sql.join(conditions, sql` and `)}
      ${after ? sql`and (created_at, id) < (${after.createdAt}::timestamptz, ${after.id}::uuid)` : sql``}
    order by created_at desc, id desc
    limit ${limit}
  )`;
  const filters = [
    endpointId !== undefined && sql`endpoint_id = ${endpointId}::uuid`,
    status !== undefined && sql`status = ${status}`,
    eventType !== undefined && sql`event_type = ${eventType}`,
  ].filter((filter) => filter !== false);
  const pages =
    filters.length > 0 ? [pageOf(...filters)] : DELIVERY_STATUSES.map((one) => pageOf(sql`status = ${one}`));
  const { rows } = await sql<DeliveryRow>`
    select * from (${sql.join(pages, sql` union all `)}) as delivery
    order by "createdAt" desc, id desc limit ${limit}
  `.execute(db);
  return rows.map(toDelivery);
}

/** Makes a delivery that no recorded event asked for; made twice with one id, the first stays. */
export async function createWebhookDelivery(
  db: Db,
  { id, endpointId, payload }: { id: string; endpointId: string; payload: WebhookPayload },
): Promise<void> {
  await db
    .insertInto('messaging.webhook_deliveries')
    .values({ id, endpoint_id: endpointId, event_type: payload.type, payload: JSON.stringify(payload) })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  callRelay();
}

/** Sends a delivery again, with all of its retries; one that waits for a retry has it now. */
export async function replayWebhookDelivery(db: Db, id: string): Promise<void> {
  await db
    .updateTable('messaging.webhook_deliveries')
    .set(({ eb }) => ({
      status: 'pending',
      round: eb('round', '+', 1),
      failures: 0,
      next_attempt_at: null,
      tell_at: sql<Date>`now()`,
      in_line: false,
    }))
    .where('id', '=', id)
    .execute();
  callRelay();
}

export interface DeliveryClaim {
  /** Until then no other process takes them. */
  until: Date;
  deliveries: { id: string; round: number; eventType: string; url: string }[];
}

/** A workflow that has not done its attempt so long after it was due is told again, or started again if it is lost. */
const OVERDUE = sql`interval '10 minutes'`;

/** Takes the deliveries whose workflows have longest been waiting to hear of them, for this process alone, for `seconds`. */
export async function claimDeliveries(
  db: Db,
  { limit, seconds }: { limit: number; seconds: number },
): Promise<DeliveryClaim> {
  const { rows } = await sql<DeliveryClaim['deliveries'][number] & { until: Date }>`
    with oldest as (
      select id from messaging.webhook_deliveries
      where tell_at <= now()
      order by tell_at
      limit ${limit}
      for update skip locked
    ),
    claimed as (
      update messaging.webhook_deliveries as delivery
      set tell_at = now() + make_interval(secs => ${seconds})
      from oldest
      where delivery.id = oldest.id
      returning delivery.id, round, event_type, endpoint_id, tell_at
    )
    select claimed.id, round, event_type as "eventType", url, tell_at as until
    from claimed join messaging.webhook_endpoints on webhook_endpoints.id = endpoint_id
  `.execute(db);
  const deliveries = rows.map(({ until: _, ...delivery }) => delivery);
  return { until: rows[0]?.until ?? new Date(0), deliveries };
}

/** Notes which deliveries of a claim their workflows have heard of, and lets go of those that could not be told. */
export async function settleDeliveries(
  db: Db,
  { until }: DeliveryClaim,
  told: string[],
  untold: string[],
): Promise<void> {
  await sql`
    update messaging.webhook_deliveries
    set tell_at = case
      when status <> 'pending' then null
      when id = any (${told}::uuid[]) then now() + ${OVERDUE}
      else now()
    end
    where id = any (${[...told, ...untold]}::uuid[]) and tell_at = ${until}
  `.execute(db);
}

export interface DeliveryToSend {
  endpointId: string;
  status: DeliveryStatus;
  round: number;
  failures: number;
  payload: string;
  url: string;
  enabled: boolean;
  /** The present one, and those before it for as long as they sign. */
  secrets: string[];
  failingSince: Date | null;
}

/** All that it takes to send a delivery, or undefined where there is none. */
export async function findDeliveryToSend(db: Db, id: string): Promise<DeliveryToSend | undefined> {
  const { rows } = await sql<DeliveryToSend>`
    select endpoint.id as "endpointId", status, round, failures, payload, url, enabled, failing_since as "failingSince",
      secret || array(select secret from ${replacedSecrets} as replaced order by until desc) as secrets
    from messaging.webhook_deliveries as delivery
    join messaging.webhook_endpoints as endpoint on endpoint.id = endpoint_id
    where delivery.id = ${id}::uuid
  `.execute(db);
  return rows[0];
}

/** Lets a delivery in this round wait until its endpoint has a place for it: it is told when it is called, or after `ms`. */
export async function putInLine(
  db: Db,
  { id, round }: { id: string; round: number },
  ms: number,
): Promise<void> {
  await sql`
    update messaging.webhook_deliveries set in_line = true, tell_at = now() + make_interval(secs => ${ms}::float8 / 1000)
    where id = ${id}::uuid and round = ${round} and status = 'pending'
  `.execute(db);
}

/** Calls the oldest deliveries that wait in line for an endpoint, each in a round of its own, which its workflow hears of. */
export async function callNextInLine(db: Db, endpointId: string, places: number): Promise<void> {
  await sql`
    update messaging.webhook_deliveries set in_line = false, round = round + 1, tell_at = now()
    where id in (
      select id from messaging.webhook_deliveries
      where endpoint_id = ${endpointId}::uuid and in_line
      order by created_at, id
      limit ${places}
      for update skip locked
    )
  `.execute(db);
  callRelay();
}

/**
 * Writes down an attempt and what becomes of the delivery by it, and of the endpoint: whether it is failing, and whether
 * it is disabled. A replay that came meanwhile, so that this is not the `round` any more, stays: the delivery is sent again.
 */
export async function recordAttempt(
  db: Db,
  { id, round }: { id: string; round: number },
  attempt: DeliveryAttempt,
  verdict: Verdict,
): Promise<void> {
  const failed = verdict.status !== 'delivered';
  const retryInMs = verdict.status === 'pending' ? verdict.retryInMs : null;
  const disables = verdict.status === 'failed' ? (verdict.disables ?? null) : null;
  const isRound = sql`round = ${round}::int`;
  const retryAt = sql`now() + make_interval(secs => ${retryInMs}::float8 / 1000)`;
  await sql`
    with tried as (
      update messaging.webhook_deliveries
      set attempts = attempts || ${JSON.stringify(attempt)}::jsonb,
        status = case when ${isRound} then ${verdict.status} else status end,
        failures = case when ${isRound} then failures + ${failed ? 1 : 0}::int else failures end,
        next_attempt_at = case when ${isRound} then ${retryAt} else next_attempt_at end,
        in_line = false,
        tell_at = case when ${isRound} then ${retryAt} + ${OVERDUE} else tell_at end
      where id = ${id}::uuid
      returning endpoint_id
    )
    update messaging.webhook_endpoints as endpoint
    set failing_since = case when ${failed} then coalesce(failing_since, now()) end,
      enabled = enabled and ${disables}::text is null,
      disabled_reason = coalesce(${disables}::text, disabled_reason)
    from tried
    where endpoint.id = tried.endpoint_id
      and ((failing_since is null) = ${failed} or ${disables}::text is not null)
  `.execute(db);
}

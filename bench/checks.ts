import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { sql } from 'kysely';
import type { Db } from '../db/connect.ts';
import type { Round } from './measure.ts';

export interface Counts {
  orders: number;
  confirmed: number;
  cancelled: number;
  delivered: number;
  workflows: number;
  /** Of orders whose message could not be sent at the first try. */
  notificationWorkflows: number;
  unsentMessages: number;
  /** Skus whose reserved units are not what live orders hold, or more than there are. */
  wrongSkus: number;
}

/**
 * How the load generator names the right answers. An order that took longer than the wait is answered 202, and must be
 * confirmed in the end as well.
 */
const RIGHT = new Set(['201 confirmed', '202 pending']);

/**
 * Counts what the run left behind, with so many of its orders cancelled and delivered in the end, and says what of it is wrong:
 * a fast platform that loses orders is no result.
 */
export async function checkRun(
  db: Db,
  client: Client,
  rounds: Round[],
  ended: { cancelled: number; delivered: number },
): Promise<{ counts: Counts; problems: string[] }> {
  const outcomes = rounds.flatMap((round) => Object.entries(round.outcomes));
  const total = outcomes.reduce((sum, [, number]) => sum + number, 0);
  const others = outcomes.filter(([outcome]) => !RIGHT.has(outcome));
  const { rows } = await sql<Omit<Counts, 'workflows' | 'notificationWorkflows'>>`
    with held as (
      select sku, sum(reserved_quantity) as units from ordering.order_lines where reserved_quantity > 0 group by sku
    )
    select
      (select count(*) from ordering.orders) as orders,
      (select count(*) from ordering.orders where status = 'confirmed') as confirmed,
      (select count(*) from ordering.orders where status = 'cancelled') as cancelled,
      (select count(*) from ordering.orders where status = 'delivered' and payment_status = 'captured') as delivered,
      (select count(*) from messaging.notifications where status <> 'sent') as "unsentMessages",
      (select count(*) from inventory.stock left join held using (sku)
        where reserved <> coalesce(held.units, 0) or reserved > on_hand) as "wrongSkus"
  `.execute(db);
  const stored = rows[0]!;
  const counts = {
    ...stored,
    workflows: await countWorkflows(client, 'order', stored.orders),
    notificationWorkflows: await countWorkflows(client, 'notification', 0),
  };
  const problems = [
    ...others.map(([outcome, number]) => `${number} orders were answered with: ${outcome}`),
    counts.orders !== total && `${total} orders were sent, ${counts.orders} are there`,
    counts.confirmed !== total - ended.cancelled - ended.delivered &&
      `${total - ended.cancelled - ended.delivered} orders should be confirmed, ${counts.confirmed} are`,
    counts.cancelled !== ended.cancelled &&
      `${ended.cancelled} orders were cancelled, ${counts.cancelled} are`,
    counts.delivered !== ended.delivered &&
      `${ended.delivered} orders were delivered, ${counts.delivered} are, and paid for`,
    counts.orders !== counts.workflows && `${counts.orders} orders have ${counts.workflows} workflows`,
    counts.unsentMessages > 0 && `${counts.unsentMessages} messages were not sent`,
    counts.wrongSkus > 0 && `the stock of ${counts.wrongSkus} skus does not add up`,
  ];
  return { counts, problems: problems.filter((problem) => problem !== false) };
}

/** Visibility lags behind, so this waits for the expected number. */
async function countWorkflows(client: Client, type: string, expected: number): Promise<number> {
  for (const deadline = Date.now() + 10_000; ; await delay(200)) {
    const { count } = await client.workflow.count(`WorkflowType = "${type}"`);
    if (count === expected || Date.now() > deadline) return count;
  }
}

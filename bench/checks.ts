import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { sql } from 'kysely';
import type { Db } from '../db/connect.ts';
import type { Round } from './measure.ts';

export interface Counts {
  orders: number;
  confirmed: number;
  cancelled: number;
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
 * Counts what the run left behind, with `cancelled` of its orders cancelled in the end, and says what of it is wrong:
 * a fast platform that loses orders is no result.
 */
export async function checkRun(
  db: Db,
  client: Client,
  rounds: { order: Round }[],
  cancelled: number,
): Promise<{ counts: Counts; problems: string[] }> {
  const outcomes = rounds.flatMap(({ order }) => Object.entries(order.outcomes));
  const total = outcomes.reduce((sum, [, number]) => sum + number, 0);
  const others = outcomes.filter(([outcome]) => !RIGHT.has(outcome));
  const { rows } = await sql<Omit<Counts, 'workflows' | 'notificationWorkflows'>>`
    with held as (
      select sku, sum(quantity - cancelled_quantity - shipped_quantity) as units
      from ordering.order_lines join ordering.orders on orders.id = order_lines.order_id
      where status not in ('rejected', 'cancelled')
      group by sku
    )
    select
      (select count(*) from ordering.orders) as orders,
      (select count(*) from ordering.orders where status = 'confirmed') as confirmed,
      (select count(*) from ordering.orders where status = 'cancelled') as cancelled,
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
    counts.confirmed !== total - cancelled &&
      `${total - cancelled} orders should be confirmed, ${counts.confirmed} are`,
    counts.cancelled !== cancelled && `${cancelled} orders were cancelled, ${counts.cancelled} are`,
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

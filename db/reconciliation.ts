import { sql } from 'kysely';
import type { Finding } from '../domain/reconciling.ts';
import type { Db, Trx } from './connect.ts';

/**
 * The live orders of the next part of the round, oldest id first; the round starts over when it has come to its end.
 * Those in the outbox have no workflow yet, and need no reconciling to get one.
 */
export async function nextLiveOrders(db: Db, limit: number): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with part as (
      select id from ordering.orders
      where status not in ('rejected', 'cancelled', 'delivered')
        and id > (select live_after from ordering.reconciliation)
        and not exists (select from ordering.outbox where order_id = orders.id)
      order by id
      limit ${limit}
    ),
    moved as (
      update ordering.reconciliation
      set live_after = case when (select count(*) from part) < ${limit}
        then '00000000-0000-0000-0000-000000000000' else (select id from part order by id desc limit 1) end
    )
    select id from part
  `.execute(db);
  return rows.map(({ id }) => id);
}

/** Stock whose counters do not agree with the lines that hold it, or with the last entry of its ledger. */
export interface StockDrift {
  sku: string;
  onHand: number;
  reserved: number;
  /** What the ledger says is on hand; null where it has no entry. */
  ledgerOnHand: number | null;
  ledgerReserved: number | null;
  /** What lines hold, in sum. */
  held: number;
}

const drifts = (skus: ReturnType<typeof sql>) => sql<StockDrift>`
  select stock.sku, stock.on_hand as "onHand", stock.reserved, last.on_hand_after as "ledgerOnHand",
    last.reserved_after as "ledgerReserved", coalesce(held.units, 0)::int as held
  from inventory.stock
  left join lateral (
    select on_hand_after, reserved_after from inventory.movements
    where movements.sku = stock.sku order by id desc limit 1
  ) as last on true
  left join lateral (
    select sum(reserved_quantity) as units from ordering.order_lines
    where order_lines.sku = stock.sku and reserved_quantity > 0
  ) as held on true
  where stock.sku in (${skus}) and (
    stock.reserved <> coalesce(held.units, 0)
    or stock.reserved <> coalesce(last.reserved_after, 0)
    or stock.on_hand <> coalesce(last.on_hand_after, stock.on_hand)
  )
`;

/** What is wrong with the stock in the next part of the round through all skus. */
export async function nextStockDrifts(db: Db, limit: number): Promise<StockDrift[]> {
  const { rows } = await sql<{ sku: string }>`
    with part as (
      select sku from inventory.stock
      where sku > (select sku_after from ordering.reconciliation)
      order by sku
      limit ${limit}
    ),
    moved as (
      update ordering.reconciliation
      set sku_after = case when (select count(*) from part) < ${limit}
        then '' else (select sku from part order by sku desc limit 1) end
    )
    select sku from part
  `.execute(db);
  if (rows.length === 0) return [];
  return (await drifts(sql.join(rows.map(({ sku }) => sku))).execute(db)).rows;
}

/**
 * Sets the counters of a sku to what its lines hold and what its ledger says is on hand, under the lock of its stock.
 * What the ledger missed of the reservations becomes an entry. False where that would leave less on hand than reserved.
 */
export async function healStock(db: Db, sku: string): Promise<boolean> {
  return await db.transaction().execute(async (trx: Trx) => {
    await trx
      .selectFrom('inventory.stock')
      .select('sku')
      .where('sku', '=', sku)
      .forUpdate()
      .executeTakeFirst();
    const [drift] = (await drifts(sql`${sku}`).execute(trx)).rows;
    if (!drift) return true;
    const { held, ledgerReserved } = drift;
    const onHand = drift.ledgerOnHand ?? drift.onHand;
    if (held > onHand) return false;
    await trx
      .updateTable('inventory.stock')
      .set((stock) => ({ on_hand: onHand, reserved: held, version: stock('version', '+', 1) }))
      .where('sku', '=', sku)
      .execute();
    const missed = held - (ledgerReserved ?? 0);
    if (missed !== 0) {
      await trx
        .insertInto('inventory.movements')
        .values({
          sku,
          type: missed > 0 ? 'reservation' : 'release',
          quantity: Math.abs(missed),
          reason: 'reconcile',
          on_hand_after: onHand,
          reserved_after: held,
        })
        .execute();
    }
    return true;
  });
}

/** The orders of the next part of the round through all that hold stock, of which those that have ended should not. */
export async function nextDeadReservations(db: Db, limit: number): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with part as (
      select distinct order_id from ordering.order_lines
      where reserved_quantity > 0 and order_id > (select holding_after from ordering.reconciliation)
      order by order_id
      limit ${limit}
    ),
    moved as (
      update ordering.reconciliation
      set holding_after = case when (select count(*) from part) < ${limit}
        then '00000000-0000-0000-0000-000000000000'
        else (select order_id from part order by order_id desc limit 1) end
    )
    select id from part join ordering.orders on id = order_id
    where status in ('rejected', 'cancelled', 'delivered')
  `.execute(db);
  return rows.map(({ id }) => id);
}

/** What ends, how one knows it, and the columns that tell up to where its workflows have been looked at. */
const ENDING = {
  orders: {
    table: sql`ordering.orders`,
    hasEnded: sql`status in ('cancelled', 'delivered')`,
    seenTo: sql`ended_after, ended_after_id`,
  },
  returns: {
    table: sql`ordering.returns`,
    hasEnded: sql`status in ('rejected', 'refunded')`,
    seenTo: sql`returns_after, returns_after_id`,
  },
};
export type Ending = keyof typeof ENDING;

/** An order or a return that has ended. */
export interface Ended {
  id: string;
  status: string;
  /** As Postgres writes it. */
  endedAt: string;
}

/**
 * The next that ended at least a minute ago, in the order in which they ended; at most an hour back. They come again until
 * `passEnded` says that they are seen to.
 */
export async function nextEnded(db: Db, what: Ending, limit: number): Promise<Ended[]> {
  const { table, hasEnded, seenTo } = ENDING[what];
  const { rows } = await sql<Ended>`
    select id, status, updated_at::text as "endedAt" from ${table}
    where ${hasEnded} and updated_at < now() - interval '1 minute' and updated_at > now() - interval '1 hour'
      and (updated_at, id) > (select ${seenTo} from ordering.reconciliation)
    order by updated_at, id
    limit ${limit}
  `.execute(db);
  return rows;
}

/** Those that ended up to this one are seen to. */
export async function passEnded(db: Db, what: Ending, { id, endedAt }: Ended): Promise<void> {
  await sql`
    update ordering.reconciliation set (${ENDING[what].seenTo}) = (${endedAt}::timestamptz, ${id}::uuid)
  `.execute(db);
}

/**
 * Movements of money that have waited for longer than `seconds` though no webhook is awaited for them, of orders that
 * have ended, and refunds of all; the workflow of a live order moves its other money itself.
 */
export async function stuckPayments(
  db: Db,
  seconds: number,
  limit: number,
): Promise<{ id: string; orderId: string; type: string }[]> {
  const { rows } = await sql<{ id: string; orderId: string; type: string }>`
    select payments.id, order_id as "orderId", type
    from ordering.payments join ordering.orders on orders.id = order_id
    where payments.status = 'pending' and not awaiting
      and payments.updated_at < now() - make_interval(secs => ${seconds})
      and (type = 'refund' or orders.status in ('rejected', 'cancelled', 'delivered'))
    order by payments.updated_at
    limit ${limit}
  `.execute(db);
  return rows;
}

/** Notifications that have waited for longer than `seconds` and are their workflow's to send, which may be lost. */
export async function stuckNotifications(
  db: Db,
  seconds: number,
  limit: number,
): Promise<{ id: string; orderId: string | null }[]> {
  const { rows } = await sql<{ id: string; orderId: string | null }>`
    select id, order_id as "orderId" from messaging.notifications
    where status = 'queued' and due_at is null and created_at < now() - make_interval(secs => ${seconds})
    order by created_at
    limit ${limit}
  `.execute(db);
  return rows;
}

/** Imports that have not got on for longer than `seconds`. */
export async function stuckImports(
  db: Db,
  seconds: number,
  limit: number,
): Promise<{ id: string; type: string }[]> {
  const { rows } = await sql<{ id: string; type: string }>`
    select id, type from importing.imports
    where status = 'running' and updated_at < now() - make_interval(secs => ${seconds})
    order by updated_at
    limit ${limit}
  `.execute(db);
  return rows;
}

/** Those of these payment ids that are not in the books. */
export async function unknownPayments(db: Db, ids: string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const known = await db.selectFrom('ordering.payments').select('id').where('id', 'in', ids).execute();
  return ids.filter((id) => !known.some((payment) => payment.id === id));
}

/** Keeps what was found wrong: once, with how often. */
export async function recordFinding(db: Db, { kind, subject, healed }: Finding): Promise<void> {
  await sql`
    insert into ordering.findings (kind, subject, healed) values (${kind}, ${subject}, ${healed})
    on conflict (kind, subject) do update
    set times = findings.times + 1, healed = excluded.healed, last_at = now()
  `.execute(db);
}

/** How often each kind was found wrong so far. */
export async function countFindings(db: Db): Promise<(Omit<Finding, 'subject'> & { count: number })[]> {
  const { rows } = await sql<Omit<Finding, 'subject'> & { count: number }>`
    select kind, healed, sum(times)::int as count from ordering.findings group by kind, healed
  `.execute(db);
  return rows;
}

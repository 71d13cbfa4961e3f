import { sql } from 'kysely';
import { expect } from 'vitest';
import type { Db } from '../../db/connect.ts';

/**
 * What must be true of the stock at any time: it is never negative, what is reserved is what live orders hold, and
 * both counters can be rebuilt from the ledger.
 */
export async function expectStockAddsUp(db: Db): Promise<void> {
  const { rows } = await sql<{ sku: string }>`
    with held as (
      select sku, sum(quantity - cancelled_quantity - shipped_quantity) as units
      from ordering.order_lines join ordering.orders on orders.id = order_lines.order_id
      where status not in ('rejected', 'cancelled')
      group by sku
    ),
    ledger as (
      select sku,
        sum(case when type in ('adjustment', 'shipment', 'return') then quantity else 0 end) as on_hand,
        sum(case type when 'reservation' then quantity when 'release' then -quantity when 'shipment' then quantity
          else 0 end) as reserved,
        bool_or(type = 'adjustment') as started
      from inventory.movements group by sku
    )
    select stock.sku, stock.on_hand, stock.reserved, held.units as held, ledger.reserved as ledger_reserved
    from inventory.stock
    left join held on held.sku = stock.sku
    left join ledger on ledger.sku = stock.sku
    where stock.reserved < 0 or stock.reserved > stock.on_hand
      or stock.reserved <> coalesce(held.units, 0)
      or stock.reserved <> coalesce(ledger.reserved, 0)
      or (ledger.started and stock.on_hand <> ledger.on_hand)
  `.execute(db);
  expect(rows).toEqual([]);
}

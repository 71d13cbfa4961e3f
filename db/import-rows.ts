import { sql } from 'kysely';
import type { ProductRow, StockRow } from '../domain/import-rows.ts';
import type { RowError } from '../domain/imports.ts';
import type { Trx } from './connect.ts';

/** Adds or changes products, no sku twice. What a row does not name stays as it is. */
export async function importProducts(trx: Trx, rows: ProductRow[]): Promise<void> {
  await sql`
    with given as (
      select row ->> 'sku' collate "C" as sku, row from jsonb_array_elements(${JSON.stringify(rows)}::jsonb) as row
    ),
    existing as materialized (
      select * from catalogue.products where sku = any (array(select sku from given)) order by sku for update
    )
    insert into catalogue.products (sku, name, description, category, price, currency, image_url, active)
    select given.sku, row ->> 'name', coalesce(row ->> 'description', existing.description, ''),
      coalesce(row ->> 'category', existing.category, ''), (row ->> 'price')::bigint, row ->> 'currency',
      case when row ? 'imageUrl' then row ->> 'imageUrl' else existing.image_url end,
      coalesce((row ->> 'active')::boolean, existing.active, true)
    from given left join existing on existing.sku = given.sku
    order by given.sku
    on conflict (sku) do update
    set name = excluded.name, description = excluded.description, category = excluded.category, price = excluded.price,
      currency = excluded.currency, image_url = excluded.image_url, active = excluded.active,
      version = products.version + 1, updated_at = now()
    where (products.name, products.description, products.category, products.price, products.currency,
        products.image_url, products.active)
      is distinct from (excluded.name, excluded.description, excluded.category, excluded.price, excluded.currency,
        excluded.image_url, excluded.active)
  `.execute(trx);
}

/**
 * Sets what is on hand, no sku twice, with the same rules as for a single one: the difference is a movement, and a row
 * below what is reserved is refused.
 */
export async function importStock(trx: Trx, rows: (StockRow & { row: number })[]): Promise<RowError[]> {
  const { rows: done } = await sql<{ row: number; reserved: number | null; known: boolean }>`
    with given as (
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as given (
        row int, sku text collate "C", "onHand" int, "lowStockThreshold" int
      )
    ),
    made as (
      insert into inventory.stock (sku, on_hand, low_stock_threshold)
      select sku, "onHand", coalesce("lowStockThreshold", 0) from given
      where not exists (select from inventory.stock where stock.sku = given.sku)
      order by sku
      on conflict do nothing
      returning sku, on_hand
    ),
    locked as materialized (
      select sku, on_hand, reserved, low_stock_threshold, version from inventory.stock
      where sku = any (array(select sku from given))
      order by sku
      for update
    ),
    changed as (
      update inventory.stock
      set on_hand = "onHand", low_stock_threshold = coalesce("lowStockThreshold", locked.low_stock_threshold),
        version = locked.version + 1, updated_at = now()
      from given join locked using (sku)
      where stock.sku = locked.sku and "onHand" >= locked.reserved
        and ("onHand", coalesce("lowStockThreshold", locked.low_stock_threshold))
          is distinct from (locked.on_hand, locked.low_stock_threshold)
      returning stock.sku, "onHand" - locked.on_hand as delta, stock.on_hand, stock.reserved
    ),
    ledger as (
      insert into inventory.movements (sku, type, quantity, reason, on_hand_after, reserved_after)
      select sku, 'adjustment', delta, 'import', on_hand, reserved from (
        select * from changed
        union all
        select sku, on_hand, on_hand, 0 from made
      ) as moved
      where delta <> 0
      order by sku
    )
    select row, locked.reserved, made.sku is not null or locked.sku is not null as known
    from given left join made using (sku) left join locked using (sku)
    where "onHand" < locked.reserved or (made.sku is null and locked.sku is null)
  `.execute(trx);
  if (done.some(({ known }) => !known))
    throw new Error('Stock was made meanwhile: its row has to be read again.');
  return done.map(({ row, reserved }) => ({
    row,
    pointer: '/onHand',
    detail: `${reserved} units are reserved, so it cannot be less.`,
  }));
}

import { fileURLToPath } from 'node:url';
import { hash } from '@node-rs/argon2';
import { databaseEnvironment } from '../config/env.ts';
import { connect } from './connect.ts';
import { demoProducts, demoUsers, DEMO_PASSWORD } from './demo-data.ts';

/**
 * Inserts the demo users, products and stock that are missing. Never changes what is there: stock and prices stay
 * as they are. Returns how many rows it inserted.
 */
export async function seedDemoData(databaseUrl: string): Promise<{ inserted: number }> {
  const { db } = connect(databaseUrl, { max: 2, name: 'holdfast-seed' });
  try {
    const known = await db.selectFrom('identity.users').select('id').execute();
    const missing = demoUsers.filter((user) => !known.some(({ id }) => id === user.id));
    const users = await Promise.all(
      missing.map(async (user) => ({ ...user, password_hash: await hash(DEMO_PASSWORD) })),
    );
    return await db.transaction().execute(async (trx) => {
      const inserts = [
        users.length > 0 &&
          trx
            .insertInto('identity.users')
            .values(users)
            .onConflict((conflict) => conflict.doNothing()),
        trx
          .insertInto('catalogue.products')
          .values(demoProducts.map(({ onHand: _, ...product }) => product))
          .onConflict((conflict) => conflict.doNothing()),
        trx
          .insertInto('inventory.stock')
          .values(
            demoProducts.map(({ sku, onHand }) => ({
              sku,
              on_hand: onHand,
              low_stock_threshold: onHand > 10 ? 10 : 0,
            })),
          )
          .onConflict((conflict) => conflict.doNothing()),
      ];
      let inserted = 0;
      for (const insert of inserts) {
        if (!insert) continue;
        const rows = await insert.returningAll().execute();
        inserted += rows.length;
        const stocked = rows.flatMap((row) => ('on_hand' in row ? [row] : []));
        if (stocked.length > 0) {
          await trx
            .insertInto('inventory.movements')
            .values(
              stocked.map(({ sku, on_hand }) => ({
                sku,
                type: 'adjustment' as const,
                quantity: on_hand,
                reason: 'demo data',
                on_hand_after: on_hand,
                reserved_after: 0,
              })),
            )
            .execute();
        }
      }
      return { inserted };
    });
  } finally {
    await db.destroy();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { inserted } = await seedDemoData(databaseEnvironment().DATABASE_URL);
  console.log(inserted > 0 ? `Inserted ${inserted} rows of demo data.` : 'The demo data is there.');
}

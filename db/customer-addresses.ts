import { type SqlBool, sql } from 'kysely';
import type { Address } from '../domain/order.ts';
import type { Position } from './customers.ts';
import type { Db, Trx } from './connect.ts';

/** An address in a customer's address book. */
export interface CustomerAddress extends Address {
  id: string;
  createdAt: string;
  updatedAt: string;
}

const columns = ['id', 'address', 'created_at as createdAt', 'updated_at as updatedAt'] as const;

interface Row {
  id: string;
  address: Address;
  createdAt: Date;
  updatedAt: Date;
}

const toAddress = ({ id, address, createdAt, updatedAt }: Row): CustomerAddress => ({
  id,
  ...address,
  createdAt: createdAt.toISOString(),
  updatedAt: updatedAt.toISOString(),
});

/** The customer's address with this id, or undefined. */
export async function findAddress(
  db: Db | Trx,
  customerId: string,
  id: string,
): Promise<CustomerAddress | undefined> {
  const row = await db
    .selectFrom('identity.customer_addresses')
    .select(columns)
    .where('id', '=', id)
    .where('customer_id', '=', customerId)
    .executeTakeFirst();
  return row && toAddress(row);
}

/** The customer's addresses, newest first, after the position `after`. */
export async function listAddresses(
  db: Db,
  customerId: string,
  page: { limit: number; after?: Position | undefined },
): Promise<CustomerAddress[]> {
  const { after } = page;
  const rows = await db
    .selectFrom('identity.customer_addresses')
    .select(columns)
    .where('customer_id', '=', customerId)
    .$if(after !== undefined, (query) =>
      query.where(sql<SqlBool>`(created_at, id) < (${after!.createdAt}::timestamptz, ${after!.id}::uuid)`),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute();
  return rows.map(toAddress);
}

/** Adds an address; false where there is no such customer any more, also when it is being deleted at this moment. */
export async function insertAddress(
  db: Db | Trx,
  customerId: string,
  id: string,
  address: Address,
): Promise<boolean> {
  const { rows } = await sql`
    insert into identity.customer_addresses (id, customer_id, address)
    select ${id}::uuid, owner.id, ${JSON.stringify(address)}::jsonb
    from (
      select id from identity.users
      where id = ${customerId}::uuid and role = 'customer' and deleted_at is null
      for share
    ) as owner
    returning id
  `.execute(db);
  return rows.length > 0;
}

/** Puts another address in the place of the customer's one with this id; undefined where there is none. */
export async function replaceAddress(
  db: Db,
  customerId: string,
  id: string,
  address: Address,
): Promise<CustomerAddress | undefined> {
  const row = await db
    .updateTable('identity.customer_addresses')
    .set({ address: JSON.stringify(address), updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('customer_id', '=', customerId)
    .returning(columns)
    .executeTakeFirst();
  return row && toAddress(row);
}

/** Removes the customer's address with this id; false where there is none. */
export async function deleteAddress(db: Db, customerId: string, id: string): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom('identity.customer_addresses')
    .where('id', '=', id)
    .where('customer_id', '=', customerId)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

import { type Selectable, sql, type Updateable } from 'kysely';
import { OrderPlatformError } from '../domain/errors.ts';
import { isWanted, type WantedVersions } from '../domain/versions.ts';
import type { Trx } from './connect.ts';
import { type Product, productColumns, toProduct } from './products.ts';
import type { Schema } from './schema.ts';

/** What staff say of a product; what is left out is empty, and a product is active. */
export interface ProductFields {
  name: string;
  description?: string | undefined;
  category?: string | undefined;
  price: number;
  currency: string;
  imageUrl?: string | null | undefined;
  active?: boolean | undefined;
}

/** Those of the fields that are to change. */
export type ProductChanges = { [Name in keyof ProductFields]?: ProductFields[Name] | undefined };

/** Adds a product. Throws `already_exists` where its sku is taken, be it by one that is not sold any more. */
export async function createProduct(trx: Trx, sku: string, fields: ProductFields): Promise<Product> {
  const created = await insert(trx, sku, fields);
  if (created) return created;
  throw new OrderPlatformError('already_exists', `There is a product ${sku} already.`);
}

/**
 * Makes the product be what `fields` say, adding it if it is missing. Throws `version_conflict`, also where there is no
 * product to be at one of the `versions`.
 */
export async function putProduct(
  trx: Trx,
  sku: string,
  fields: ProductFields,
  versions?: WantedVersions,
): Promise<{ product: Product; created: boolean }> {
  const created = versions === undefined ? await insert(trx, sku, fields) : undefined;
  if (created) return { product: created, created: true };
  const before = await lockProduct(trx, sku);
  if (!before) throw new OrderPlatformError('version_conflict', `There is no product ${sku}.`);
  return { product: await update(trx, before, whole(fields), versions), created: false };
}

/** Changes what `fields` say of a product. Throws `not_found` and `version_conflict`. */
export async function patchProduct(
  trx: Trx,
  sku: string,
  { imageUrl, ...fields }: ProductChanges,
  versions?: WantedVersions,
): Promise<Product> {
  const before = await lockProduct(trx, sku);
  if (!before) throw new OrderPlatformError('not_found', `There is no product ${sku}.`);
  const wanted = { ...fields, ...(imageUrl !== undefined && { image_url: imageUrl }) };
  return await update(trx, before, wanted, versions);
}

const whole = ({ imageUrl, ...fields }: ProductFields) => ({
  description: '',
  category: '',
  active: true,
  ...fields,
  image_url: imageUrl ?? null,
});

async function insert(trx: Trx, sku: string, fields: ProductFields): Promise<Product | undefined> {
  const row = await trx
    .insertInto('catalogue.products')
    .values({ sku, ...whole(fields) })
    .onConflict((conflict) => conflict.doNothing())
    .returning(productColumns)
    .executeTakeFirst();
  return row && toProduct(row);
}

const lockProduct = (trx: Trx, sku: string) =>
  trx.selectFrom('catalogue.products').selectAll().where('sku', '=', sku).forUpdate().executeTakeFirst();

/** Writes what changes; where nothing does, the product stays at its version. */
async function update(
  trx: Trx,
  before: Selectable<Schema['catalogue.products']>,
  wanted: Updateable<Schema['catalogue.products']>,
  versions?: WantedVersions,
): Promise<Product> {
  const { sku, version } = before;
  if (!isWanted(version, versions)) {
    throw new OrderPlatformError('version_conflict', `The product ${sku} is at version ${version}.`);
  }
  const columns = Object.keys(wanted) as (keyof typeof wanted)[];
  const changes = columns.some((column) => wanted[column] !== undefined && wanted[column] !== before[column]);
  const row = await trx
    .updateTable('catalogue.products')
    .set({
      ...wanted,
      version: version + (changes ? 1 : 0),
      ...(changes && { updated_at: sql<Date>`now()` }),
    })
    .where('sku', '=', sku)
    .returning(productColumns)
    .executeTakeFirstOrThrow();
  return toProduct(row);
}

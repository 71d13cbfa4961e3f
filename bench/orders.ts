import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Db } from '../db/connect.ts';
import { DEMO_PASSWORD, demoUsers } from '../db/demo-data.ts';

/** Puts products with ample stock on sale, so that no order is rejected; returns their skus. */
export async function addProducts(db: Db, number: number): Promise<string[]> {
  const skus = Array.from({ length: number }, (_, index) => `BENCH-${index}`);
  const products = skus.map((sku) => ({ sku, name: `Product ${sku}`, price: 1999, currency: 'USD' }));
  await db.insertInto('catalogue.products').values(products).execute();
  await db
    .insertInto('inventory.stock')
    .values(skus.map((sku) => ({ sku, on_hand: 1_000_000 })))
    .execute();
  return skus;
}

/** The access tokens of all demo logins with a role. */
export async function logIn(url: string, role: 'customer' | 'staff'): Promise<string[]> {
  const users = demoUsers.filter((user) => user.role === role);
  const answers = users.map(({ email }) =>
    post<{ accessToken: string }>(`${url}/v1/auth/login`, { email, password: DEMO_PASSWORD }),
  );
  return (await Promise.all(answers)).map(({ accessToken }) => accessToken);
}

/** The ids of orders that are placed and go on, newest first. */
export async function newestOrders(db: Db, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('ordering.orders')
    .select('id')
    .where('status', '=', 'confirmed')
    .orderBy('created_at', 'desc')
    .limit(limit)
    .execute();
  return rows.map(({ id }) => id);
}

export async function cancelOrders(url: string, token: string, ids: string[]): Promise<void> {
  for (const id of ids) await post(`${url}/v1/orders/${id}/cancel`, { reason: 'bench' }, token);
}

/** Ships orders whole, and records their delivery. */
export async function deliverOrders(url: string, token: string, ids: string[]): Promise<void> {
  for (const id of ids) {
    const shipment = await post<{ id: string }>(
      `${url}/v1/orders/${id}/shipments`,
      { carrier: 'bench' },
      token,
    );
    await post(`${url}/v1/shipments/${shipment.id}/deliver`, {}, token);
  }
}

/** Waits until every order is settled and every message is handed over: the last thing their workflows do for now. */
export async function untilSettled(db: Db): Promise<void> {
  for (const deadline = Date.now() + 300_000; ; await delay(20)) {
    const { rows } = await sql<{ left: boolean }>`
      select exists (select from ordering.orders where status = 'pending')
        or exists (select from messaging.notifications where status = 'queued') as left
    `.execute(db);
    if (!rows[0]!.left) return;
    if (Date.now() > deadline) throw new Error('Not every order is settled five minutes after the last one.');
  }
}

/** How many orders went through each lane. */
export interface Lanes {
  workflow: number;
  direct: number;
}

/** What the API at `url` has taken so far. */
export async function lanesOf(url: string): Promise<Lanes> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const read = (lane: string) =>
    Number(new RegExp(`^holdfast_orders_accepted_total\\{lane="${lane}"\\} (\\d+)`, 'm').exec(text)?.[1]);
  return { workflow: read('workflow'), direct: read('direct') };
}

async function post<T>(url: string, body: unknown, token?: string): Promise<T> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
  });
  if (!response.ok)
    throw new Error(`POST ${url} was answered with ${response.status}: ${await response.text()}`);
  return (await response.json()) as T;
}

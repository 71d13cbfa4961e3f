import { Client, Connection } from '@temporalio/client';
import type { Platform } from './platform.ts';

/** Runs `use` with a client of the platform's Temporal. */
export async function withTemporal<T>(
  { temporalAddress }: Platform,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const connection = await Connection.connect({ address: temporalAddress });
  try {
    return await use(new Client({ connection }));
  } finally {
    await connection.close();
  }
}

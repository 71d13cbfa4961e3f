import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import proto from '@temporalio/proto';
import { NativeConnection } from '@temporalio/worker';
import type { Logger } from 'pino';
import { type Temporal, TemporalLeftAlone } from '../client/calls.ts';
import { CUSTOMER_ID, ORDER_STATUS } from '../workflows/messages.ts';

export interface TemporalConnection extends Temporal {
  namespace: string;
  /** Once Temporal has answered; rejects when this is closed before. */
  connected: Promise<NativeConnection>;
  /** Whether Temporal has answered. From then on the connection finds it again by itself. */
  isConnected(): boolean;
  /** Waits for Temporal, so long at most; tells whether it has answered. */
  isConnectedWithin(ms: number): Promise<boolean>;
  close(): Promise<void>;
}

const RETRY_MS = 1_000;

/**
 * Connects to the Temporal that the environment or the TOML profile names (`TEMPORAL_*`, read by the SDK's envconfig),
 * registers the search attributes where it may, and then lets `prepare` do what comes first. Tries until Temporal answers.
 */
export function connectTemporal(
  logger: Logger,
  prepare: (client: Client) => Promise<unknown> = async () => undefined,
): TemporalConnection {
  const { connectionOptions, namespace = 'default' } = loadClientConnectConfig();
  const { address = 'localhost:7233' } = connectionOptions;
  const closing = new AbortController();
  let open: { connection: NativeConnection; client: Client } | undefined;

  const connect = async (): Promise<NativeConnection> => {
    for (let failed = false; ;) {
      try {
        const connection = await NativeConnection.connect(connectionOptions);
        await registerSearchAttributes(connection, namespace, logger);
        const client = new Client({ connection, namespace });
        await prepare(client);
        open = { connection, client };
        if (failed) logger.info({ address }, 'Temporal answers');
        return connection;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        if (!failed) logger.warn({ address, reason }, 'Temporal does not answer yet');
        failed = true;
        await delay(RETRY_MS, undefined, { signal: closing.signal });
      }
    }
  };
  const connected = connect();
  // Whoever needs it waits for it; nobody may.
  connected.catch(() => undefined);

  return {
    namespace,
    get client() {
      if (!open) throw new TemporalLeftAlone(`Temporal has not answered yet at ${address}.`);
      return open.client;
    },
    connected,
    isConnected: () => open !== undefined,
    async isConnectedWithin(ms) {
      const waiting = new AbortController();
      const tooLate = delay(ms, undefined, { signal: waiting.signal }).catch(() => undefined);
      await Promise.race([connected, tooLate]);
      waiting.abort();
      return open !== undefined;
    },
    async close() {
      closing.abort();
      await open?.connection.close();
    },
  };
}

async function registerSearchAttributes(
  connection: NativeConnection,
  namespace: string,
  logger: Logger,
): Promise<void> {
  const { INDEXED_VALUE_TYPE_KEYWORD } = proto.temporal.api.enums.v1.IndexedValueType;
  const wanted = [ORDER_STATUS.name, CUSTOMER_ID.name];
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    const missing = wanted.filter((name) => !(name in customAttributes));
    if (missing.length > 0) {
      await connection.operatorService.addSearchAttributes({
        namespace,
        searchAttributes: Object.fromEntries(missing.map((name) => [name, INDEXED_VALUE_TYPE_KEYWORD])),
      });
      logger.info({ searchAttributes: missing }, 'Search attributes registered');
    }
  } catch (error) {
    logger.warn(
      { reason: error instanceof Error ? error.message : String(error) },
      `The search attributes ${wanted.join(' and ')} cannot be registered or checked; orders are started without ` +
        'them where Temporal does not know them',
    );
  }
}

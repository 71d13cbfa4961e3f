import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import proto from '@temporalio/proto';
import { NativeConnection } from '@temporalio/worker';
import pTimeout from 'p-timeout';
import type { Logger } from 'pino';
import { type Temporal, TemporalLeftAlone } from '../client/calls.ts';
import { CUSTOMER_ID, ORDER_STATUS, TASK_QUEUE } from '../workflows/messages.ts';

export interface TemporalConnection extends Temporal {
  namespace: string;
  /** Once Temporal has answered; rejects when this is closed before. */
  connected: Promise<NativeConnection>;
  /** Whether Temporal has answered. From then on the connection finds it again by itself. */
  isConnected(): boolean;
  /** Waits until Temporal has answered; throws, with the reason, when that takes longer. */
  connectedWithin(ms: number): Promise<void>;
  close(): Promise<void>;
}

const RETRY_MS = 1_000;
/** How long one try may take. */
const ANSWER_MS = 5_000;

/**
 * Connects to the Temporal that the environment or the TOML profile names (`TEMPORAL_*`, read by the SDK's envconfig),
 * registers the search attributes where it may, and then lets `prepare` do what comes first. Tries until Temporal answers and
 * knows the namespace.
 */
export function connectTemporal(
  logger: Logger,
  prepare: (client: Client) => Promise<unknown> = async () => undefined,
): TemporalConnection {
  const { connectionOptions, namespace = 'default' } = loadClientConnectConfig();
  const { address = 'localhost:7233' } = connectionOptions;
  const closing = new AbortController();
  let open: { connection: NativeConnection; client: Client } | undefined;

  let reason = '';
  const note = (error: unknown): void => {
    const told = reason;
    reason = error instanceof Error ? error.message : String(error);
    if (reason !== told) logger.warn({ address, namespace, reason }, 'Temporal does not answer yet');
  };

  /** Asked over a plain connection, because a native one that failed takes the SDK's runtime down with it. */
  const askForNamespace = async (): Promise<void> => {
    const plain = await Connection.connect({ ...connectionOptions, connectTimeout: ANSWER_MS });
    try {
      await plain.withDeadline(Date.now() + ANSWER_MS, () =>
        plain.workflowService.describeTaskQueue({ namespace, taskQueue: { name: TASK_QUEUE } }),
      );
    } finally {
      await plain.close();
    }
  };

  const connect = async (): Promise<NativeConnection> => {
    for (;;) {
      try {
        await askForNamespace();
        const connection = await NativeConnection.connect(connectionOptions);
        await registerSearchAttributes(connection, namespace, logger);
        const client = new Client({ connection, namespace });
        await prepare(client);
        open = { connection, client };
        if (reason !== '') logger.info({ address }, 'Temporal answers');
        return connection;
      } catch (error) {
        note(error);
        await delay(RETRY_MS, undefined, { signal: closing.signal });
      }
    }
  };
  const connected = connect();
  // Perhaps nobody waits for it.
  connected.catch(() => undefined);

  return {
    namespace,
    get client() {
      if (!open) throw new TemporalLeftAlone(`Temporal has not answered yet at ${address}.`);
      return open.client;
    },
    connected,
    isConnected: () => open !== undefined,
    async connectedWithin(ms) {
      const tooLate = (): never => {
        throw new Error(`Temporal does not answer at ${address}. ${reason}`.trim());
      };
      await pTimeout(connected, { milliseconds: ms, fallback: tooLate });
    },
    async close() {
      closing.abort();
      // A worker that was made and never run holds on to it; the process ends all the same.
      await open?.connection.close().catch(() => undefined);
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

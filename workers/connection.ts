import { loadClientConnectConfig } from '@temporalio/envconfig';
import proto from '@temporalio/proto';
import { NativeConnection } from '@temporalio/worker';
import type { Logger } from 'pino';
import { CUSTOMER_ID, ORDER_STATUS } from '../workflows/messages.ts';

export interface TemporalConnection {
  connection: NativeConnection;
  namespace: string;
}

const PATIENCE_MS = 60_000;

/**
 * Connects to the Temporal that the environment or the TOML profile names (`TEMPORAL_*`, read by the SDK's envconfig)
 * and registers the search attributes where it may. Waits a minute for a server that is not up yet.
 */
export async function connectTemporal(logger: Logger): Promise<TemporalConnection> {
  const { connectionOptions, namespace = 'default' } = loadClientConnectConfig();
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      const connection = await NativeConnection.connect(connectionOptions);
      await registerSearchAttributes(connection, namespace, logger);
      return { connection, namespace };
    } catch (error) {
      if (Date.now() > deadline) {
        throw new Error(`Temporal does not answer at ${connectionOptions.address ?? 'localhost:7233'}.`, {
          cause: error,
        });
      }
      logger.warn({ address: connectionOptions.address }, 'Temporal does not answer yet');
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }
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

import type { NativeConnection, Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createActivities } from '../activities/index.ts';
import { connect, type Db } from '../db/connect.ts';
import type { Placement } from '../db/placement.ts';
import type { Mailer } from '../providers/mail/mailer.ts';
import { smtpMailer } from '../providers/mail/smtp.ts';
import { connectTemporal } from './connection.ts';
import { createLogger } from './logger.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createOrderWorker } from './order-worker.ts';
import { installRuntime } from './runtime.ts';

export interface PartsOptions {
  LOG_LEVEL: string;
  DATABASE_URL: string;
  DATABASE_POOL_SIZE: number;
  SMTP_URL: string;
  MAIL_FROM: string;
  NOTIFICATION_MAX_ATTEMPTS: number;
  MAX_CACHED_WORKFLOWS: number;
  WORKFLOW_BUNDLE?: string | undefined;
}

/** What every process of the platform works with. */
export interface Parts {
  logger: Logger;
  metrics: Metrics;
  connection: NativeConnection;
  namespace: string;
  db: Db;
  mailer: Mailer;
  /** A worker on these parts; `announce` tells whoever waits for the outcome of a placement. */
  createWorker(announce: (placed: Placement) => void): Promise<Worker>;
  close(): Promise<void>;
}

/** Opens the parts of the process `name` (`api` or `worker`), with the environment as config/ has parsed it. */
export async function openParts(name: string, options: PartsOptions): Promise<Parts> {
  const logger = createLogger(options.LOG_LEVEL, name);
  const sdkMetrics = await installRuntime(logger);
  const { connection, namespace } = await connectTemporal(logger);
  const { db, pool } = connect(options.DATABASE_URL, {
    max: options.DATABASE_POOL_SIZE,
    name: `holdfast-${name}`,
  });
  const mailer = smtpMailer(options.SMTP_URL, options.MAIL_FROM);
  const metrics = createMetrics(pool, sdkMetrics);
  return {
    logger,
    metrics,
    connection,
    namespace,
    db,
    mailer,
    createWorker: (announce) =>
      createOrderWorker({
        connection,
        namespace,
        workflowBundle: options.WORKFLOW_BUNDLE,
        maxCachedWorkflows: options.MAX_CACHED_WORKFLOWS,
        activities: createActivities({
          db,
          mailer,
          maxAttempts: options.NOTIFICATION_MAX_ATTEMPTS,
          countOutcome: metrics.countOutcome,
          announce,
        }),
      }),
    async close() {
      mailer.close();
      await connection.close();
      await db.destroy();
    },
  };
}

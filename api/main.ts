import { createServer as createHttpServer } from 'node:http';
import { Client } from '@temporalio/client';
import { createLogger } from '../workers/logger.ts';
import { createActivities } from '../activities/index.ts';
import { apiEnvironment } from '../config/env.ts';
import { connect } from '../db/connect.ts';
import { notifyOutcome } from '../db/placement.ts';
import { smtpMailer } from '../providers/mail/smtp.ts';
import { connectTemporal } from '../workers/connection.ts';
import { createOrderWorker } from '../workers/order-worker.ts';
import { installRuntime } from '../workers/runtime.ts';
import { untilShutdown } from '../workers/shutdown.ts';
import { readinessOf } from './health.ts';
import { createMetrics } from '../workers/metrics.ts';
import { createOrderWorkflows } from './order-workflows.ts';
import { listenForOutcomes } from './outcomes.ts';
import { createOrderPlacing } from './placing.ts';
import { authEndpoints } from './routes/auth.ts';
import { healthEndpoints } from './routes/health.ts';
import { inventoryEndpoints } from './routes/inventory.ts';
import { orderEndpoints } from './routes/orders.ts';
import { productEndpoints } from './routes/products.ts';
import { createServer } from './server.ts';
import { accessTokens } from './tokens.ts';

const environment = apiEnvironment();
const logger = createLogger(environment.LOG_LEVEL, 'api');
const sdkMetrics = await installRuntime(logger);
const { connection, namespace } = await connectTemporal(logger);
const { db, pool } = connect(environment.DATABASE_URL, {
  max: environment.DATABASE_POOL_SIZE,
  name: 'holdfast-api',
});
const mailer = smtpMailer(environment.SMTP_URL, environment.MAIL_FROM);
const metrics = createMetrics(pool, sdkMetrics);
const outcomes = listenForOutcomes(environment.DATABASE_URL, db, logger);

const worker = environment.API_WORKER
  ? await createOrderWorker({
      connection,
      namespace,
      workflowBundle: environment.WORKFLOW_BUNDLE,
      maxCachedWorkflows: environment.MAX_CACHED_WORKFLOWS,
      activities: createActivities({
        db,
        mailer,
        maxAttempts: environment.NOTIFICATION_MAX_ATTEMPTS,
        countOutcome: metrics.countOutcome,
        announce(placed) {
          if (outcomes.settle(placed)) return;
          notifyOutcome(db, placed.orderId).catch((error: unknown) =>
            logger.warn({ err: error, orderId: placed.orderId }, 'An outcome could not be announced'),
          );
        },
      }),
    })
  : undefined;

const workflows = createOrderWorkflows({
  client: new Client({ connection, namespace }),
  logger,
  eager: worker !== undefined,
});
const tokens = accessTokens(environment.JWT_SECRET);
const readiness = readinessOf([
  { name: 'postgres', needed: true, check: () => outcomes.ping() },
  {
    name: 'temporal',
    needed: true,
    check: () =>
      connection.withDeadline(Date.now() + 2_000, () => connection.workflowService.getSystemInfo({})),
  },
  { name: 'smtp', needed: false, check: () => mailer.check() },
]);

const app = createServer({
  endpoints: [
    ...authEndpoints({ db, tokens, loginLimitPerMinute: environment.LOGIN_LIMIT_PER_MINUTE }),
    ...orderEndpoints({ db, workflows, placing: createOrderPlacing({ db, workflows, outcomes }) }),
    ...inventoryEndpoints({ db }),
    ...productEndpoints({ db }),
    ...healthEndpoints({ readiness, metrics: metrics.render }),
  ],
  tokens,
  measure: metrics.requests,
  logger,
  rateLimitPerMinute: environment.RATE_LIMIT_PER_MINUTE,
  trustProxy: environment.TRUST_PROXY,
});

const server = createHttpServer(app);
await new Promise<void>((resolve, reject) => {
  server.once('error', reject).listen(environment.PORT, environment.HOST, resolve);
});
logger.info({ host: environment.HOST, port: environment.PORT }, 'The API listens');

await untilShutdown(worker, logger, () => {
  outcomes.release();
  return new Promise((resolve) => server.close(resolve));
});
await outcomes.close();
mailer.close();
await connection.close();
await db.destroy();
logger.info('The API has stopped');
process.exit();

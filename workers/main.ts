import { createServer } from 'node:http';
import { createLogger } from './logger.ts';
import { createActivities } from '../activities/index.ts';
import { createMetrics } from './metrics.ts';
import { workerEnvironment } from '../config/env.ts';
import { connect } from '../db/connect.ts';
import { notifyOutcome } from '../db/placement.ts';
import { smtpMailer } from '../providers/mail/smtp.ts';
import { connectTemporal } from './connection.ts';
import { createOrderWorker } from './order-worker.ts';
import { installRuntime } from './runtime.ts';
import { untilShutdown } from './shutdown.ts';

const environment = workerEnvironment();
const logger = createLogger(environment.LOG_LEVEL, 'worker');
const sdkMetrics = await installRuntime(logger);
const { connection, namespace } = await connectTemporal(logger);
const { db, pool } = connect(environment.DATABASE_URL, {
  max: environment.DATABASE_POOL_SIZE,
  name: 'holdfast-worker',
});
const mailer = smtpMailer(environment.SMTP_URL, environment.MAIL_FROM);
const metrics = createMetrics(pool, sdkMetrics);

const worker = await createOrderWorker({
  connection,
  namespace,
  workflowBundle: environment.WORKFLOW_BUNDLE,
  maxCachedWorkflows: environment.MAX_CACHED_WORKFLOWS,
  activities: createActivities({
    db,
    mailer,
    maxAttempts: environment.NOTIFICATION_MAX_ATTEMPTS,
    countOutcome: metrics.countOutcome,
    announce: (placed) => {
      notifyOutcome(db, placed.orderId).catch((error: unknown) =>
        logger.warn({ err: error, orderId: placed.orderId }, 'An outcome could not be announced'),
      );
    },
  }),
});

const health = createServer((request, response) => {
  if (request.url === '/livez') {
    response.end(worker.getState());
    return;
  }
  if (request.url !== '/metrics') {
    response.writeHead(404).end();
    return;
  }
  metrics.render().then(
    (text) => response.setHeader('Content-Type', 'text/plain; version=0.0.4').end(text),
    () => response.writeHead(500).end(),
  );
});
if (environment.WORKER_HTTP_PORT !== undefined) health.listen(environment.WORKER_HTTP_PORT, environment.HOST);
logger.info({ namespace }, 'The worker polls');

await untilShutdown(worker, logger);
health.close();
mailer.close();
await connection.close();
await db.destroy();
logger.info('The worker has stopped');
process.exit();

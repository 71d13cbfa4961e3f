import { createServer } from 'node:http';
import { workerEnvironment } from '../config/env.ts';
import { notifyOutcome } from '../db/placement.ts';
import { openParts } from './parts.ts';
import { untilShutdown } from './shutdown.ts';

/** A worker without Temporal has nothing to do; whoever supervises it starts it again. */
const PATIENCE_MS = 60_000;

const environment = workerEnvironment();
const parts = await openParts('worker', { ...environment, eager: false });
const { logger, metrics, temporal, db, startDispatcher, close } = parts;
await temporal.connectedWithin(PATIENCE_MS);

const own = parts.createWorker(({ id: orderId }) => {
  notifyOutcome(db, orderId).catch((error: unknown) =>
    logger.warn({ err: error, orderId }, 'An outcome could not be announced'),
  );
});
const webhookWorker = parts.createWebhookWorker();
const [worker] = await Promise.all([own.worker, webhookWorker]);

/** The API processes tell what they place; what waits for longer was left behind by one that is gone. */
const LEFT_BEHIND_SECONDS = 10;
const dispatcher = startDispatcher({ minAgeSeconds: LEFT_BEHIND_SECONDS, isBurst: () => false });
const pump = parts.startNotificationPump({ isBurst: () => false });
const webhookRelay = parts.startWebhookRelay();

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
logger.info({ namespace: temporal.namespace }, 'The worker polls');

await untilShutdown([own.worker, webhookWorker], logger);
health.close();
await dispatcher.stop();
await pump.stop();
await webhookRelay.stop();
await close();
logger.info('The worker has stopped');
process.exit();

import { createServer as createHttpServer } from 'node:http';
import { apiEnvironment } from '../config/env.ts';
import { notifyOutcome } from '../db/placement.ts';
import { signingSecret } from '../db/signing-secret.ts';
import { openParts } from '../workers/parts.ts';
import { untilShutdown } from '../workers/shutdown.ts';
import { readinessOf } from './health.ts';
import { listenForOutcomes } from './outcomes.ts';
import { createOrderCommands } from './order-commands.ts';
import { createOrderReader } from './order-reader.ts';
import { createPlacing } from './placing.ts';
import { authEndpoints } from './routes/auth.ts';
import { healthEndpoints } from './routes/health.ts';
import { inventoryEndpoints } from './routes/inventory.ts';
import { orderEndpoints } from './routes/orders.ts';
import { paymentEndpoints } from './routes/payments.ts';
import { productEndpoints } from './routes/products.ts';
import { returnEndpoints } from './routes/returns.ts';
import { shipmentEndpoints } from './routes/shipments.ts';
import { createServer } from './server.ts';
import { accessTokens } from './tokens.ts';

const environment = apiEnvironment();
const parts = await openParts('api', { ...environment, eager: environment.API_WORKER });
const { logger, metrics, connection, db, mailer, companies, workflows, sideflows } = parts;
const outcomes = listenForOutcomes(environment.DATABASE_URL, db, logger);

const createWorker = () =>
  parts.createWorker((order) => {
    if (outcomes.settle(order)) return;
    notifyOutcome(db, order.id).catch((error: unknown) =>
      logger.warn({ err: error, orderId: order.id }, 'An outcome could not be announced'),
    );
  });
const worker = environment.API_WORKER ? await createWorker() : undefined;

const load = createOrderReader({ db, workflows });
const commands = createOrderCommands({ db, workflows });
const place = createPlacing({
  db,
  workflows,
  outcomes,
  shipWithinMs: environment.SHIP_WITHIN_HOURS * 3_600_000,
});
const tokens = accessTokens(environment.JWT_SECRET ?? (await signingSecret(db)));
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
    ...orderEndpoints({ db, load, place, commands }),
    ...shipmentEndpoints({ db, load, commands, readWebhook: companies.readCarrierWebhook, logger }),
    ...paymentEndpoints({ db, load, commands, sideflows, readWebhook: companies.readPaymentWebhook, logger }),
    ...returnEndpoints({ db, load, sideflows }),
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
await parts.close();
logger.info('The API has stopped');
process.exit();

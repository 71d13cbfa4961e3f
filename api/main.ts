import { createServer as createHttpServer } from 'node:http';
import { apiEnvironment } from '../config/env.ts';
import { notifyOutcome } from '../db/placement.ts';
import { signingSecret } from '../db/signing-secret.ts';
import { openParts } from '../workers/parts.ts';
import { untilShutdown } from '../workers/shutdown.ts';
import { createDirectPlacing } from './direct-placing.ts';
import { listEndpoints } from './endpoints.ts';
import { readinessOf } from './health.ts';
import { createLanes } from './lanes.ts';
import { listenForOutcomes } from './outcomes.ts';
import { createOrderCommands } from './order-commands.ts';
import { createOrderReader } from './order-reader.ts';
import { createPlacing } from './placing.ts';
import { createPriceMemory } from './price-memory.ts';
import { createServer } from './server.ts';
import { createStarting, startAlone } from './starting.ts';
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
const own = environment.API_WORKER ? await createWorker() : undefined;
const worker = own?.worker;

const direct = createDirectPlacing({
  placeOrder: parts.placeOrder,
  provider: environment.PAYMENT_PROVIDER,
  countOutcome: metrics.countOutcome,
  wakeDispatcher: () => dispatcher.wake(),
});
const dispatcher = parts.startDispatcher({ minAgeSeconds: 0, isBurst: direct.isBurst });
const startOrder = own
  ? createStarting({ db, workflows, logger, placeAhead: own.placeAhead, wakeDispatcher: dispatcher.wake })
  : startAlone(workflows);
const load = createOrderReader({ db, workflows });
const commands = createOrderCommands({ db, workflows, wakeDispatcher: dispatcher.wake });
const prices = createPriceMemory();
const place = createPlacing({
  db,
  workflows,
  outcomes,
  prices,
  lanes: createLanes({
    limit: environment.WORKFLOW_LANE_LIMIT,
    isTemporalReachable: workflows.areReachable,
    isBehind: dispatcher.isBehind,
  }),
  start: startOrder,
  placeDirectly: direct.place,
  countAccepted: metrics.countAccepted,
  shipWithinMs: environment.SHIP_WITHIN_HOURS * 3_600_000,
});
const tokens = accessTokens(environment.JWT_SECRET ?? (await signingSecret(db)));
const readiness = readinessOf([
  { name: 'postgres', takesOrders: () => true, check: () => outcomes.ping() },
  {
    name: 'temporal',
    // Without Postgres an order costs what it cost a moment ago, if that is known.
    takesOrders: () => !prices.isEmpty(),
    check: () =>
      connection.withDeadline(Date.now() + 2_000, () => connection.workflowService.getSystemInfo({})),
  },
  { name: 'smtp', takesOrders: () => false, check: () => mailer.check() },
]);

const app = createServer({
  endpoints: listEndpoints({
    auth: { db, tokens, loginLimitPerMinute: environment.LOGIN_LIMIT_PER_MINUTE },
    orders: { db, load, place, commands },
    shipments: { db, load, commands, readWebhook: companies.readCarrierWebhook, logger },
    payments: { db, load, commands, sideflows, readWebhook: companies.readPaymentWebhook, logger },
    returns: { db, load, sideflows },
    inventory: { db },
    products: { db },
    health: { readiness, metrics: metrics.render },
  }),
  tokens,
  measure: metrics.requests,
  logger,
  rateLimitPerMinute: environment.RATE_LIMIT_PER_MINUTE,
  trustProxy: environment.TRUST_PROXY,
});

const server = createHttpServer(app);
// Longer than load balancers keep idle connections, or they would send into one that is just being closed.
server.keepAliveTimeout = 75_000;
await new Promise<void>((resolve, reject) => {
  server.once('error', reject).listen(environment.PORT, environment.HOST, resolve);
});
logger.info({ host: environment.HOST, port: environment.PORT }, 'The API listens');

await untilShutdown(worker, logger, () => {
  outcomes.release();
  return new Promise((resolve) => server.close(resolve));
});
await dispatcher.stop();
await outcomes.close();
await parts.close();
logger.info('The API has stopped');
process.exit();

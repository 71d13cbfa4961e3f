import { createServer as createHttpServer } from 'node:http';
import { apiEnvironment } from '../config/env.ts';
import { reach } from '../client/calls.ts';
import { connect } from '../db/connect.ts';
import { notifyOutcome } from '../db/placement.ts';
import { startListening } from '../db/listener.ts';
import { objectionTo } from '../providers/webhooks/address-guard.ts';
import { openParts } from '../workers/parts.ts';
import { untilShutdown } from '../workers/shutdown.ts';
import { createApiKeys } from './api-keys.ts';
import { createCallers } from './callers.ts';
import { createCarts } from './carts.ts';
import { createCheckout } from './checkout.ts';
import { answerClientErrors } from './client-errors.ts';
import { createDirectPlacing } from './direct-placing.ts';
import { listEndpoints } from './endpoints.ts';
import { createEventFeed } from './event-feed.ts';
import { createEventStreams } from './event-streams.ts';
import { readinessOf } from './health.ts';
import { givenKeyRing, storedKeyRing } from './key-ring.ts';
import { createLanes } from './lanes.ts';
import { listenForOutcomes } from './outcomes.ts';
import { createOrderCommands } from './order-commands.ts';
import { createOrderReader } from './order-reader.ts';
import { createPasswords } from './passwords.ts';
import { createPlacing } from './placing.ts';
import { createPriceMemory } from './price-memory.ts';
import { limitLogins, limitRegistrations, limitRequests } from './rate-limits.ts';
import { repeat } from './repeating.ts';
import { createServer } from './server.ts';
import { createSharedCounts } from './shared-counts.ts';
import { createStarting, startAlone } from './starting.ts';
import { accessTokens } from './tokens.ts';

/** How soon this process knows of a new signing key, and of an account that was deleted, through another one. */
const KEEP_UP_MS = 2_000;
/** So many searches run at once; the others wait, and no order waits for them. */
const SEARCH_CONNECTIONS = 4;

/** How long it waits for Temporal before it begins. */
const TEMPORAL_PATIENCE_MS = 5_000;
/** While it stops, how soon a connection that has nothing more to answer is closed. */
const CLOSE_IDLE_MS = 50;
/** Room for the longest query there is: the variables of a message, escaped. */
const MAX_HEADER_BYTES = 128 * 1024;

const environment = apiEnvironment();
const parts = await openParts('api', { ...environment, eager: environment.API_WORKER });
const { logger, metrics, temporal, db, mailer, companies, workflows, sideflows } = parts;
const listener = startListening(environment.DATABASE_URL, 'holdfast-listener');
const outcomes = listenForOutcomes(listener, db, logger);
const streams = createEventStreams(
  createEventFeed(db, listener, logger),
  environment.EVENTS_HEARTBEAT_SECONDS * 1000,
);

const createWorker = () =>
  parts.createWorker((order) => {
    if (outcomes.settle(order)) return;
    notifyOutcome(db, order.id).catch((error: unknown) =>
      logger.warn({ err: error, orderId: order.id }, 'An outcome could not be announced'),
    );
  });
const own = environment.API_WORKER ? createWorker() : undefined;
const polling = own ? [own.worker, parts.createWebhookWorker()] : [];
await temporal.connectedWithin(TEMPORAL_PATIENCE_MS).then(
  () => Promise.all(polling),
  (error: unknown) => logger.warn({ err: error }, 'Orders are taken without Temporal'),
);

const direct = createDirectPlacing({
  placeOrder: parts.placeOrder,
  provider: environment.PAYMENT_PROVIDER,
  countOutcome: metrics.countOutcome,
  wakeDispatcher: () => dispatcher.wake(),
});
const dispatcher = parts.startDispatcher({ minAgeSeconds: 0, isBurst: direct.isBurst });
const webhookRelay = parts.startWebhookRelay();
const startOrder = own
  ? createStarting({ db, workflows, logger, placeAhead: own.placeAhead, wakeDispatcher: dispatcher.wake })
  : startAlone(workflows);
const pump = parts.startNotificationPump({ isBurst: direct.isBurst });
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
const keyRing = environment.JWT_SECRET
  ? givenKeyRing(environment.JWT_SECRET, environment.JWT_ACCEPTED_SECRETS)
  : await storedKeyRing(db);
const tokens = accessTokens(keyRing);
const apiKeys = createApiKeys(db);
const callers = createCallers({ db, tokens, apiKeys });
// A process that starts while Postgres is away learns of them when it is back.
await callers
  .refresh()
  .catch((error: unknown) => logger.warn({ err: error }, 'Who was deleted could not be read'));
const keepingUp = repeat(
  'keep up with keys and accounts',
  KEEP_UP_MS,
  async () => void (await Promise.all([keyRing.refresh(), callers.refresh(), apiKeys.writeUses()])),
  logger,
);
const counts = createSharedCounts(db, logger);
const passwords = createPasswords();
const cartTerms = {
  expirySeconds: environment.CART_EXPIRY_DAYS * 86_400,
  reminderSeconds: environment.CART_REMINDER_HOURS * 3_600,
};
const carts = createCarts({ db, workflows, terms: cartTerms, logger });
const checkOut = createCheckout({ db, carts, place, terms: cartTerms, logger });
const readiness = readinessOf([
  { name: 'postgres', takesOrders: () => true, check: () => listener.ping() },
  {
    name: 'temporal',
    // Without Postgres an order costs what it cost a moment ago, if that is known.
    takesOrders: () => !prices.isEmpty(),
    check: () => reach(temporal.client, 2_000),
  },
  { name: 'smtp', takesOrders: () => false, check: () => mailer.check() },
]);

const { db: search } = connect(environment.DATABASE_URL, {
  max: SEARCH_CONNECTIONS,
  name: 'holdfast-search',
  searching: true,
});

const app = createServer({
  endpoints: listEndpoints({
    auth: {
      db,
      tokens,
      passwords,
      limitLogins: limitLogins(counts, environment.LOGIN_LIMIT_PER_MINUTE),
      limitRegistrations: limitRegistrations(counts, environment.LOGIN_LIMIT_PER_MINUTE),
    },
    apiKeys: { db, apiKeys },
    customers: { db, passwords, forgetCaller: callers.forget },
    customerAddresses: { db },
    orders: { db, load, place, commands },
    shipments: { db, load, commands, readWebhook: companies.readCarrierWebhook, logger },
    payments: { db, load, commands, sideflows, readWebhook: companies.readPaymentWebhook, logger },
    returns: { db, load, sideflows, logger },
    inventory: { db },
    products: { db, search },
    imports: { db, sideflows, logger },
    exports: { db },
    carts: { carts, checkOut },
    notifications: { db, render: parts.renderMessage, wakePump: pump.wake },
    notificationTemplates: { render: parts.renderMessage },
    preferences: { db },
    events: { db, load, streams, callers },
    webhookEndpoints: {
      db,
      objectionTo: (url) => objectionTo(url, { allowPrivate: environment.WEBHOOK_ALLOW_PRIVATE }),
    },
    webhookDeliveries: { db },
    health: { readiness, metrics: metrics.render },
  }),
  callers,
  limit: limitRequests(counts, environment.RATE_LIMIT_PER_MINUTE),
  measure: metrics.requests,
  logger,
  trustProxy: environment.TRUST_PROXY,
});

const server = createHttpServer({ maxHeaderSize: MAX_HEADER_BYTES }, app);
answerClientErrors(server, logger);
// Longer than load balancers keep idle connections, or they would send into one that is just being closed.
server.keepAliveTimeout = 75_000;
// The largest upload takes 36 minutes at 1 Mbit/s. Slow headers are cut off after Node's minute all the same.
server.requestTimeout = 3_600_000;
await new Promise<void>((resolve, reject) => {
  server.once('error', reject).listen(environment.PORT, environment.HOST, resolve);
});
logger.info({ host: environment.HOST, port: environment.PORT }, 'The API listens');

await untilShutdown(polling, logger, () => {
  outcomes.release();
  streams.close();
  // A connection that is answered now would otherwise be kept for the client's next request.
  const closing = setInterval(() => server.closeIdleConnections(), CLOSE_IDLE_MS);
  return new Promise((resolve) => server.close(resolve)).finally(() => clearInterval(closing));
});
await Promise.all([dispatcher.stop(), pump.stop(), webhookRelay.stop(), keepingUp.stop(), counts.stop()]);
await listener.close();
await search.destroy();
await parts.close();
logger.info('The API has stopped');
process.exit();

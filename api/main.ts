import { createServer as createHttpServer } from 'node:http';
import { apiEnvironment } from '../config/env.ts';
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
import { createDirectPlacing } from './direct-placing.ts';
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
import { limitRequests } from './rate-limits.ts';
import { repeat } from './repeating.ts';
import { apiKeyEndpoints } from './routes/api-keys.ts';
import { authEndpoints } from './routes/auth.ts';
import { customerAddressEndpoints } from './routes/customer-addresses.ts';
import { customerEndpoints } from './routes/customers.ts';
import { exportEndpoints } from './routes/exports.ts';
import { cartEndpoints } from './routes/carts.ts';
import { eventEndpoints } from './routes/events.ts';
import { healthEndpoints } from './routes/health.ts';
import { importEndpoints } from './routes/imports.ts';
import { inventoryEndpoints } from './routes/inventory.ts';
import { notificationTemplateEndpoints } from './routes/notification-templates.ts';
import { notificationEndpoints } from './routes/notifications.ts';
import { orderEndpoints } from './routes/orders.ts';
import { paymentEndpoints } from './routes/payments.ts';
import { preferencesEndpoints } from './routes/preferences.ts';
import { productEndpoints } from './routes/products.ts';
import { returnEndpoints } from './routes/returns.ts';
import { shipmentEndpoints } from './routes/shipments.ts';
import { webhookDeliveryEndpoints } from './routes/webhook-deliveries.ts';
import { webhookEndpointEndpoints } from './routes/webhook-endpoints.ts';
import { createServer } from './server.ts';
import { createSharedCounts } from './shared-counts.ts';
import { createStarting, startAlone } from './starting.ts';
import { accessTokens } from './tokens.ts';

/** How soon this process knows of a new signing key, and of an account that was deleted, through another one. */
const KEEP_UP_MS = 2_000;
/** So many searches run at once; the others wait, and no order waits for them. */
const SEARCH_CONNECTIONS = 4;

const environment = apiEnvironment();
const parts = await openParts('api', { ...environment, eager: environment.API_WORKER });
const { logger, metrics, connection, db, mailer, companies, workflows, sideflows } = parts;
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
const own = environment.API_WORKER ? await createWorker() : undefined;
const polling = own ? [own.worker, await parts.createWebhookWorker()] : [];

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
    check: () =>
      connection.withDeadline(Date.now() + 2_000, () => connection.workflowService.getSystemInfo({})),
  },
  { name: 'smtp', takesOrders: () => false, check: () => mailer.check() },
]);

const { db: search } = connect(environment.DATABASE_URL, {
  max: SEARCH_CONNECTIONS,
  name: 'holdfast-search',
  searching: true,
});

const app = createServer({
  endpoints: [
    ...authEndpoints({
      db,
      tokens,
      passwords,
      counts,
      loginLimitPerMinute: environment.LOGIN_LIMIT_PER_MINUTE,
    }),
    ...apiKeyEndpoints({ db, apiKeys }),
    ...customerEndpoints({ db, passwords, forgetCaller: callers.forget }),
    ...customerAddressEndpoints({ db }),
    ...orderEndpoints({ db, load, place, commands }),
    ...shipmentEndpoints({ db, load, commands, readWebhook: companies.readCarrierWebhook, logger }),
    ...paymentEndpoints({ db, load, commands, sideflows, readWebhook: companies.readPaymentWebhook, logger }),
    ...returnEndpoints({ db, load, sideflows }),
    ...inventoryEndpoints({ db }),
    ...productEndpoints({ db, search }),
    ...importEndpoints({ db, sideflows, logger }),
    ...exportEndpoints({ db }),
    ...cartEndpoints({ carts, checkOut }),
    ...notificationEndpoints({ db, render: parts.renderMessage, wakePump: pump.wake }),
    ...notificationTemplateEndpoints({ render: parts.renderMessage }),
    ...preferencesEndpoints({ db }),
    ...eventEndpoints({ db, load, streams, callers }),
    ...webhookEndpointEndpoints({
      db,
      objectionTo: (url) => objectionTo(url, { allowPrivate: environment.WEBHOOK_ALLOW_PRIVATE }),
    }),
    ...webhookDeliveryEndpoints({ db }),
    ...healthEndpoints({ readiness, metrics: metrics.render }),
  ],
  callers,
  limit: limitRequests(counts, environment.RATE_LIMIT_PER_MINUTE),
  measure: metrics.requests,
  logger,
  trustProxy: environment.TRUST_PROXY,
});

const server = createHttpServer(app);
// Longer than load balancers keep idle connections, or they would send into one that is just being closed.
server.keepAliveTimeout = 75_000;
await new Promise<void>((resolve, reject) => {
  server.once('error', reject).listen(environment.PORT, environment.HOST, resolve);
});
logger.info({ host: environment.HOST, port: environment.PORT }, 'The API listens');

await untilShutdown(polling, logger, () => {
  outcomes.release();
  streams.close();
  return new Promise((resolve) => server.close(resolve));
});
await Promise.all([dispatcher.stop(), pump.stop(), webhookRelay.stop(), keepingUp.stop(), counts.stop()]);
await listener.close();
await search.destroy();
await parts.close();
logger.info('The API has stopped');
process.exit();

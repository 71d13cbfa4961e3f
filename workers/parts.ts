import type { Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createActivities } from '../activities/index.ts';
import { createNotificationSender } from '../activities/notification-sender.ts';
import type { Log } from '../activities/payments.ts';
import type { PlaceAhead } from '../activities/placing.ts';
import { createWebhookActivities } from '../activities/webhooks.ts';
import { connect, type Db } from '../db/connect.ts';
import { setStockManager } from '../db/inventory.ts';
import { mockPushBooks, mockSmsBooks } from '../db/mock-messages.ts';
import { createPlacementQueue, type PlaceOrder } from '../db/placement-queue.ts';
import { createSideWorkflows, type SideWorkflows } from '../client/side-workflows.ts';
import { isTemporalUnavailable, type TemporalCircuit, TemporalLeftAlone } from '../client/calls.ts';
import { createOrderWorkflows, type OrderWorkflows } from '../client/order-workflows.ts';
import type { RenderMessage } from '../domain/notifications.ts';
import type { Order } from '../domain/order.ts';
import type { Mailer } from '../providers/mail/mailer.ts';
import { CircuitOpen, type CircuitPosition, createCircuit } from '../providers/circuit.ts';
import { smtpMailer } from '../providers/mail/smtp.ts';
import { CARTS_WORKFLOW, RECONCILE_WORKFLOW } from '../workflows/messages.ts';
import { renderMessage } from '../providers/messages/render.ts';
import { mockPush } from '../providers/push/mock.ts';
import { mockSms } from '../providers/sms/mock.ts';
import { createWebhookSender } from '../providers/webhooks/sender.ts';
import { type Companies, type CompanyOptions, openCompanies } from './companies.ts';
import { connectTemporal, type TemporalConnection } from './connection.ts';
import { type Dispatcher, type DispatcherOptions, startDispatcher } from './dispatcher.ts';
import { createLogger } from './logger.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import {
  type NotificationPump,
  type NotificationPumpOptions,
  startNotificationPump,
} from './notification-pump.ts';
import { createOrderWorker } from './order-worker.ts';
import { scheduleWorkflow } from './schedules.ts';
import { installRuntime } from './runtime.ts';
import { startWebhookRelay, type WebhookRelay } from './webhook-relay.ts';
import { createWebhookWorker } from './webhook-worker.ts';

export interface PartsOptions extends CompanyOptions {
  LOG_LEVEL: string;
  DATABASE_URL: string;
  DATABASE_POOL_SIZE: number;
  SMTP_URL: string;
  MAIL_FROM: string;
  NOTIFICATION_MAX_ATTEMPTS: number;
  MAX_CACHED_WORKFLOWS: number;
  WORKER_DEPLOYMENT_NAME: string;
  WORKER_BUILD_ID?: string | undefined;
  WORKFLOW_BUNDLE?: string | undefined;
  STOCK_MANAGER_EMAIL: string;
  PAYMENT_TIMEOUT_SECONDS: number;
  RECONCILE_INTERVAL_SECONDS: number;
  CART_INTERVAL_SECONDS: number;
  WEBHOOK_ALLOW_PRIVATE: boolean;
  WEBHOOK_RETRY_SECONDS: number[];
  WEBHOOK_TIMEOUT_SECONDS: number;
  WEBHOOK_DISABLE_AFTER_HOURS: number;
  /** Whether this process polls the task queue itself, so that the first task of an order can come to it at once. */
  eager: boolean;
}

/** What every process of the platform works with. */
export interface Parts {
  logger: Logger;
  metrics: Metrics;
  temporal: TemporalConnection;
  db: Db;
  placeOrder: PlaceOrder;
  mailer: Mailer;
  companies: Companies;
  workflows: OrderWorkflows;
  sideflows: SideWorkflows;
  /** Starts to tell the workflows of orders that were placed without them. */
  startDispatcher(options: Pick<DispatcherOptions, 'minAgeSeconds' | 'isBurst'>): Dispatcher;
  /** Starts to send the notifications that are due. */
  startNotificationPump(options: Pick<NotificationPumpOptions, 'isBurst'>): NotificationPump;
  /** Puts a message into words, without sending it. */
  renderMessage: RenderMessage;
  /**
   * Makes a worker on these parts, once Temporal has answered; `announce` tells whoever waits for an order to be settled.
   * `placeAhead` begins the first step of an order whose workflow is just being started.
   */
  createWorker(announce: (order: Order) => void): { worker: Promise<Worker>; placeAhead: PlaceAhead };
  /** Makes a worker that sends webhooks, once Temporal has answered. */
  createWebhookWorker(): Promise<Worker>;
  /** Starts to make deliveries of the recorded events, and to tell their workflows. */
  startWebhookRelay(): WebhookRelay;
  close(): Promise<void>;
}

/** Opens the parts of the process `name` (`api` or `worker`), with the environment as config/ has parsed it. */
export async function openParts(name: string, options: PartsOptions): Promise<Parts> {
  const logger = createLogger(options.LOG_LEVEL, name);
  const sdkMetrics = await installRuntime(logger);
  const recurring = [
    {
      name: RECONCILE_WORKFLOW,
      everySeconds: options.RECONCILE_INTERVAL_SECONDS,
      summary: 'Finds what is wrong in spite of all, and heals it',
    },
    {
      name: CARTS_WORKFLOW,
      everySeconds: options.CART_INTERVAL_SECONDS,
      summary: 'Unlocks ordered carts, forgets expired ones, and reminds of forgotten ones',
    },
  ];
  const temporal = connectTemporal(logger, (client) =>
    Promise.all(recurring.map((one) => scheduleWorkflow(client, one, logger))),
  );
  const { namespace } = temporal;
  const { db, pool } = connect(options.DATABASE_URL, {
    max: options.DATABASE_POOL_SIZE,
    name: `holdfast-${name}`,
  });
  const placeOrder = createPlacementQueue(db);
  const mailer = smtpMailer(options.SMTP_URL, options.MAIL_FROM);
  const metrics = createMetrics(db, pool, sdkMetrics);
  const noteCircuit = (company: string, state: CircuitPosition) => {
    logger.warn({ company, state }, 'A circuit has changed');
    metrics.noteCircuit(company, state);
  };
  const companies = await openCompanies(db, options, noteCircuit);
  // A process that starts while Postgres is away leaves it as it is.
  await setStockManager(db, options.STOCK_MANAGER_EMAIL).catch((error: unknown) =>
    logger.warn({ err: error }, 'The stock manager could not be named'),
  );
  // Temporal hands an eager task to whoever asks, also to a build that is not the current one.
  const eager = options.eager && options.WORKER_BUILD_ID === undefined;
  metrics.noteCircuit('temporal', 'open');
  void temporal.connected.then(
    () => metrics.noteCircuit('temporal', 'closed'),
    () => undefined,
  );
  const circuit = temporalCircuit(temporal, (state) => noteCircuit('temporal', state));
  const workflows = createOrderWorkflows({ temporal, logger, eager, circuit });
  const sideflows = createSideWorkflows(temporal, circuit);
  const log: Log = {
    info: (message, about) => logger.info(about, message),
    warn: (message, about) => logger.warn(about, message),
    error: (message, about) => logger.error(about, message),
  };
  const notifications = createNotificationSender({
    db,
    log,
    mailer,
    sms: mockSms(mockSmsBooks(db)),
    push: mockPush(mockPushBooks(db)),
    maxAttempts: options.NOTIFICATION_MAX_ATTEMPTS,
  });
  return {
    logger,
    metrics,
    temporal,
    db,
    placeOrder,
    mailer,
    companies,
    workflows,
    sideflows,
    startDispatcher: (more) => startDispatcher({ db, workflows, logger, ...more }),
    startNotificationPump: (more) => startNotificationPump({ db, notifications, sideflows, logger, ...more }),
    renderMessage,
    createWorker(announce) {
      const { activities, placeAhead } = createActivities({
        db,
        placeOrder,
        notifications,
        payments: companies.payments,
        carrier: companies.carrier,
        paymentProvider: options.PAYMENT_PROVIDER,
        paymentTimeoutMs: options.PAYMENT_TIMEOUT_SECONDS * 1000,
        stockManagerEmail: options.STOCK_MANAGER_EMAIL,
        countOutcome: metrics.countOutcome,
        workflows,
        sideflows,
        announce,
        log,
      });
      const worker = temporal.connected.then((connection) =>
        createOrderWorker({
          connection,
          namespace,
          workflowBundle: options.WORKFLOW_BUNDLE,
          maxCachedWorkflows: options.MAX_CACHED_WORKFLOWS,
          deploymentName: options.WORKER_DEPLOYMENT_NAME,
          buildId: options.WORKER_BUILD_ID,
          activities,
        }),
      );
      return { worker, placeAhead };
    },
    async createWebhookWorker() {
      const activities = createWebhookActivities({
        db,
        sendWebhook: createWebhookSender({
          timeoutMs: options.WEBHOOK_TIMEOUT_SECONDS * 1000,
          allowPrivate: options.WEBHOOK_ALLOW_PRIVATE,
        }),
        retrySchedule: options.WEBHOOK_RETRY_SECONDS.map((seconds) => seconds * 1000),
        disableAfterMs: options.WEBHOOK_DISABLE_AFTER_HOURS * 3_600_000,
      });
      return await createWebhookWorker({ connection: await temporal.connected, namespace, activities });
    },
    startWebhookRelay: () => startWebhookRelay({ db, deliver: sideflows.deliverWebhook, logger }),
    async close() {
      mailer.close();
      await temporal.close();
      await db.destroy();
    },
  };
}

/** After a few starts that failed Temporal is left alone; every two seconds one tries whether it is back. */
function temporalCircuit(
  temporal: TemporalConnection,
  onStateChange: (state: CircuitPosition) => void,
): TemporalCircuit {
  const circuit = createCircuit('temporal', {
    consecutiveFailures: 5,
    halfOpenAfterMs: 2_000,
    isFailure: isTemporalUnavailable,
    onStateChange,
  });
  return {
    isClosed: () => temporal.isConnected() && circuit.isClosed(),
    async run(call) {
      if (!temporal.isConnected()) throw new TemporalLeftAlone('Temporal has not answered yet.');
      try {
        return await circuit.run(call);
      } catch (error) {
        throw error instanceof CircuitOpen ? new TemporalLeftAlone('Temporal does not answer.') : error;
      }
    },
  };
}

import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { SideWorkflows } from '../client/side-workflows.ts';
import type { Db } from '../db/connect.ts';
import { onRelayCalled } from '../db/relay-calls.ts';
import { claimDeliveries, settleDeliveries } from '../db/webhook-deliveries.ts';
import { fanOut, findWork } from '../db/webhook-fanout.ts';
import { isOutage, startRounds } from './rounds.ts';

/** Makes deliveries of the recorded events, and tells their workflows: soon after this process has recorded some. */
export interface WebhookRelay {
  /** Ends after what has begun. */
  stop(): Promise<void>;
}

export interface WebhookRelayOptions {
  db: Db;
  deliver: SideWorkflows['deliverWebhook'];
  logger: Logger;
}

const LOOK_EVERY_MS = 200;
/** For so long after a call, and after there was something: what it was called for may not be committed yet. */
const LIVELY_MS = 2_000;
/** Else: what a process left behind that has died, or could not be seen before an older transaction ended. */
const REST_MS = 1_000;
const RETRY_MS = 1_000;
const BATCH = 64;
const CONCURRENCY = 8;
/** Another process goes on after that; telling twice does no harm. */
const CLAIM_SECONDS = 15;

export function startWebhookRelay({ db, deliver, logger }: WebhookRelayOptions): WebhookRelay {
  const slots = pLimit(CONCURRENCY);

  /** Tells the workflows of one batch of deliveries. */
  const handOver = async (): Promise<void> => {
    const claim = await claimDeliveries(db, { limit: BATCH, seconds: CLAIM_SECONDS });
    const told: string[] = [];
    const untold: string[] = [];
    let failure: unknown;
    await Promise.all(
      claim.deliveries.map((delivery) =>
        slots(() => (failure ? Promise.reject(failure) : deliver(delivery))).then(
          () => told.push(delivery.id),
          (error: unknown) => {
            if (isOutage(error)) {
              failure ??= error;
              untold.push(delivery.id);
              return;
            }
            // Its claim runs out, and it is tried again; meanwhile it keeps no other waiting.
            logger.error({ err: error, deliveryId: delivery.id }, 'A webhook cannot be handed over');
          },
        ),
      ),
    );
    await settleDeliveries(db, claim, told, untold);
    if (failure) throw failure;
  };

  let livelyUntil = 0;
  const isLively = () => Date.now() < livelyUntil;
  const liven = () => (livelyUntil = Date.now() + LIVELY_MS);
  const { stop, wake } = startRounds({
    async round() {
      const work = await findWork(db);
      if (work.events) await fanOut(db);
      if (work.deliveries) await handOver();
      if (work.events || work.deliveries) liven();
      return isLively() ? LOOK_EVERY_MS : REST_MS;
    },
    retryMs: RETRY_MS,
    logger,
    failed: 'Webhooks cannot go out',
    recovered: 'Webhooks go out again',
  });
  onRelayCalled(() => {
    if (!isLively()) wake();
    liven();
  });
  return { stop };
}

import type { Logger } from 'pino';
import { isTemporalUnavailable } from '../client/calls.ts';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import type { Db } from '../db/connect.ts';
import { forgetWords, type OwnWord, releaseWord } from '../db/outbox.ts';
import type { PlacedOrder } from '../domain/order.ts';
import type { Lane } from './lanes.ts';

/**
 * Starts the workflow of a new order. Answers in which lane the order was taken: `direct` where Temporal did not answer, but
 * the order is placed. Undefined where the order was taken before.
 */
export type StartOrder = (accepted: PlacedOrder) => Promise<Lane | undefined>;

/** Only starts the workflow, for a process that runs none itself. */
export const startAlone =
  (workflows: OrderWorkflows): StartOrder =>
  async (accepted) =>
    (await workflows.start(accepted)) ? 'workflow' : undefined;

/** After that a dispatcher takes care of an order whose process has died in between. */
const CLAIM_MS = 15_000;

/**
 * Starts workflows and places their orders at the same time, in this process, so that whoever waits for the outcome does not
 * wait for one after the other. The word it leaves with the order sees to it that the workflow comes even if this process
 * dies in between.
 */
export function createStarting({
  db,
  workflows,
  placeAhead,
  wakeDispatcher,
  logger,
}: {
  db: Db;
  workflows: OrderWorkflows;
  /** Begins the first step of an order; see activities/placing.ts. */
  placeAhead(accepted: PlacedOrder, claimedUntil: Date, started: Promise<unknown>): Promise<boolean>;
  wakeDispatcher(): void;
  logger: Logger;
}): StartOrder {
  let heard: OwnWord[] = [];
  let forgetting = false;

  /** Forgets together what was heard while the last ones were forgotten. What fails is told once more by a dispatcher. */
  const forget = async (word: OwnWord): Promise<void> => {
    heard.push(word);
    if (forgetting) return;
    forgetting = true;
    while (heard.length > 0) {
      const words = heard;
      heard = [];
      await forgetWords(db, words).catch((error: unknown) =>
        logger.warn({ err: error, orders: words.length }, 'Workflows will be told again'),
      );
    }
    forgetting = false;
  };

  return async (accepted) => {
    const word = { orderId: accepted.orderId, claimedUntil: new Date(Date.now() + CLAIM_MS) };
    const starting = workflows.start(accepted);
    const placing = placeAhead(accepted, word.claimedUntil, starting).catch(() => undefined);
    try {
      const isFirstStart = await starting;
      const isPlaced = await placing;
      if (isPlaced) void forget(word);
      return (isPlaced ?? isFirstStart) ? 'workflow' : undefined;
    } catch (error) {
      if (!isTemporalUnavailable(error) || !(await placing)) throw error;
      await releaseWord(db, word);
      wakeDispatcher();
      return 'direct';
    }
  };
}

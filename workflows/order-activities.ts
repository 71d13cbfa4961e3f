import { condition, proxyActivities, proxyLocalActivities, workflowInfo } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';

const local = (summary: string) =>
  proxyLocalActivities<Activities>({
    startToCloseTimeout: '10 seconds',
    retry: { initialInterval: '200 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
    localRetryThreshold: '5 seconds',
    summary,
  });

const regular = (summary: string) =>
  proxyActivities<Activities>({
    startToCloseTimeout: '30 seconds',
    retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '1 minute' },
    summary,
  });

/** The end of the last of this workflow's local activities: every workflow has modules of its own. */
let turn: Promise<unknown> = Promise.resolve();

/**
 * Lets the local activities of a workflow run one after the other. Those that run at once are replayed in the order in
 * which they began, not in that in which they ended, and the workflow would be stuck for good
 * (https://github.com/temporalio/sdk-typescript/issues/1744).
 *
 * One that outlasts its workflow task (after 8 s Temporal gives the workflow another) ends after all that came with the
 * later task has been seen to. In a replay both come at once, so it lets the others go first there, too.
 */
const inTurn =
  <Input extends unknown[], Result>(run: (...input: Input) => Promise<Result>) =>
  (...input: Input): Promise<Result> => {
    const result = turn.then(async () => {
      const { historyLength } = workflowInfo();
      try {
        return await run(...input);
      } finally {
        if (workflowInfo().historyLength !== historyLength) await othersFirst();
      }
    });
    turn = result.catch(() => undefined);
    return result;
  };

/** So often at most one that waits for a condition sets off another: a message is out, the next cancels, the order ends. */
const HANDED_ON = 5;

/** Waits until all that goes on without a further event has gone on. */
async function othersFirst(): Promise<void> {
  for (let round = 0; round < HANDED_ON; round += 1) {
    let asked = 0;
    // Conditions are asked when they are made, and again when nothing else can go on.
    await condition(() => (asked += 1) > 1);
  }
}

/** Steps of some milliseconds, which cost the history next to nothing. */
export const quickly = {
  placeOrder: inTurn(local('Take the stock, ask for the money').placeOrder),
  followUp: inTurn(local('Tell the customer').followUp),
  notePayment: inTurn(local('Note what the payment company said').notePayment),
  expirePayment: inTurn(local('Cancel: not paid in time').expirePayment),
  cancelOrder: inTurn(local('Release the stock, give the money free').cancelOrder),
  changeOrder: inTurn(local('Change address or note').changeOrder),
  shipOrder: inTurn(local('Hand over to the carrier, capture the money').shipOrder),
  deliverOrder: inTurn(local('Record the delivery').deliverOrder),
  reportLateOrder: inTurn(local('Tell the stock manager: late').reportLateOrder),
  readReturn: inTurn(local('Read the return').readReturn),
  advanceReturn: inTurn(local('Take the return one step on').advanceReturn),
};

/** What waits for companies that take their time, and tries again until they answer. */
export const patiently = {
  settlePayments: regular('Move the money that is due').settlePayments,
  bookCarrier: regular('Book the carrier').bookCarrier,
  cancelBooking: regular('Take back the booking').cancelBooking,
};

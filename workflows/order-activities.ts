import { proxyActivities, proxyLocalActivities } from '@temporalio/workflow';
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

/** Steps of some milliseconds, which cost the history next to nothing. */
export const quickly = {
  placeOrder: local('Take the stock, ask for the money').placeOrder,
  followUp: local('Tell the customer').followUp,
  notePayment: local('Note what the payment company said').notePayment,
  expirePayment: local('Cancel: not paid in time').expirePayment,
  cancelOrder: local('Release the stock, give the money free').cancelOrder,
  changeOrder: local('Change address or note').changeOrder,
  shipOrder: local('Hand over to the carrier, capture the money').shipOrder,
  deliverOrder: local('Record the delivery').deliverOrder,
  reportLateOrder: local('Tell the stock manager: late').reportLateOrder,
  advanceReturn: local('Take the return one step on').advanceReturn,
};

/** What waits for companies that take their time, and tries again until they answer. */
export const patiently = {
  settlePayments: regular('Move the money that is due').settlePayments,
  bookCarrier: regular('Book the carrier').bookCarrier,
  cancelBooking: regular('Take back the booking').cancelBooking,
};

import { condition, proxyActivities, setHandler } from '@temporalio/workflow';
import type { WebhookActivities } from '../activities/webhooks.ts';
import type { DeliveryStatus } from '../domain/webhooks.ts';
import { deliverSignal, WEBHOOK_TASK_QUEUE } from './messages.ts';

const { deliverWebhook } = proxyActivities<WebhookActivities>({
  taskQueue: WEBHOOK_TASK_QUEUE,
  startToCloseTimeout: '1 minute',
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '1 minute' },
});

/**
 * Delivers a webhook, again and again as its schedule has it, until it is delivered or given up. It is started with the
 * signal `deliver`, which also asks one that runs for an attempt now; the signal says which round (the first, a replay, or
 * its turn at a busy endpoint) it is about, so that one that an attempt has served already asks for nothing.
 */
export async function webhook(deliveryId: string): Promise<DeliveryStatus> {
  let asked = 0;
  setHandler(deliverSignal, (round) => {
    asked = Math.max(asked, Number(round) || 0);
  });
  for (;;) {
    const heard = asked;
    const outcome = await deliverWebhook(deliveryId);
    const served = Math.max(heard, outcome.round);
    if (outcome.status === 'pending') await condition(() => asked > served, outcome.retryInMs);
    else if (asked <= served) return outcome.status;
  }
}

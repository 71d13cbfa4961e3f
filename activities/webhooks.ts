import { cancellationSignal, log } from '@temporalio/activity';
import type { Db } from '../db/connect.ts';
import {
  callNextInLine,
  type DeliveryToSend,
  findDeliveryToSend,
  putInLine,
  recordAttempt,
} from '../db/webhook-deliveries.ts';
import { type DeliveryAttempt, type DeliveryStatus, judge } from '../domain/webhooks.ts';
import type { SendWebhook } from '../providers/webhooks/sender.ts';

export interface WebhookActivityDeps {
  db: Db;
  sendWebhook: SendWebhook;
  /** The milliseconds before each retry. */
  retrySchedule: readonly number[];
  /** An endpoint that nothing has reached for so long is disabled when a delivery to it is given up. */
  disableAfterMs: number;
}

/** How many deliveries one endpoint may keep this process busy with: one that hangs takes no more of its slots. */
const PLACES = 4;
/** While the last attempt has failed. */
const PLACES_FAILING = 1;
/** So many are called for each that was delivered, so that no place stays empty while they are on their way. */
const CALLED = 2;
/** A delivery in line is called; should nobody do it, because processes died, it asks by itself after so long. */
const IN_LINE_MS = 3_600_000;

/** What has become of a delivery in this round of it, and where it is still pending when to try again. */
export type DeliveryOutcome = { round: number } & (
  { status: Exclude<DeliveryStatus, 'pending'> } | { status: 'pending'; retryInMs: number }
);

export function createWebhookActivities({
  db,
  sendWebhook,
  retrySchedule,
  disableAfterMs,
}: WebhookActivityDeps) {
  const busy = new Map<string, number>();

  const isBusy = ({ endpointId, failingSince }: DeliveryToSend): boolean =>
    (busy.get(endpointId) ?? 0) >= (failingSince ? PLACES_FAILING : PLACES);

  /** Calls the endpoint, and notes what came of it. */
  const attempt = async (id: string, delivery: DeliveryToSend): Promise<DeliveryOutcome> => {
    const { endpointId, round, failures, payload: body, url, secrets, failingSince } = delivery;
    busy.set(endpointId, (busy.get(endpointId) ?? 0) + 1);
    const began = Date.now();
    const answer = await sendWebhook({ id, url, body, secrets }, cancellationSignal()).finally(() => {
      const left = busy.get(endpointId)! - 1;
      if (left > 0) busy.set(endpointId, left);
      else busy.delete(endpointId);
    });

    const now = Date.now();
    const { retryAfterMs, ...told } = answer;
    const attempted: DeliveryAttempt = {
      at: new Date(began).toISOString(),
      ...told,
      durationMs: now - began,
    };
    const verdict = judge(
      { ...attempted, ...(retryAfterMs !== undefined && { retryAfterMs }) },
      {
        failures,
        schedule: retrySchedule,
        chance: Math.random(),
        failingForMs: failingSince ? now - failingSince.getTime() : 0,
        disableAfterMs,
      },
    );
    await recordAttempt(db, { id, round }, attempted, verdict);
    if (verdict.status === 'failed' && verdict.disables) {
      log.warn('A webhook endpoint was disabled', { endpointId, reason: verdict.disables });
    }
    return verdict.status === 'pending' ? { ...verdict, round } : { status: verdict.status, round };
  };

  const deliver = async (id: string, delivery: DeliveryToSend): Promise<DeliveryOutcome> => {
    const { status, round, enabled } = delivery;
    if (status !== 'pending') return { status, round };
    if (enabled) return await attempt(id, delivery);
    const refused = { at: new Date().toISOString(), error: 'The endpoint is disabled', durationMs: 0 };
    await recordAttempt(db, { id, round }, refused, { status: 'failed' });
    return { status: 'failed', round };
  };

  return {
    /**
     * Tries once to deliver, and lets the next in line follow; where the endpoint is busy the delivery goes in line itself.
     * Fails, to be run again elsewhere, where this process stops meanwhile.
     */
    async deliverWebhook(id: string): Promise<DeliveryOutcome> {
      const delivery = await findDeliveryToSend(db, id);
      if (!delivery) return { status: 'failed', round: 0 };
      const { endpointId, round, status, enabled } = delivery;
      if (status === 'pending' && enabled && isBusy(delivery)) {
        await putInLine(db, { id, round }, IN_LINE_MS);
        // Who kept it busy may have called the next one before this one was in line.
        if (!isBusy(delivery)) await callNextInLine(db, endpointId, 1);
        return { status: 'pending', round, retryInMs: IN_LINE_MS };
      }
      const outcome = await deliver(id, delivery);
      await callNextInLine(db, endpointId, outcome.status === 'delivered' ? CALLED : 1);
      return outcome;
    },
  };
}

export type WebhookActivities = ReturnType<typeof createWebhookActivities>;

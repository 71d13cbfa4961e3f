import { cancellationSignal, log } from '@temporalio/activity';
import type { Db } from '../db/connect.ts';
import { findDeliveryToSend, recordAttempt } from '../db/webhook-deliveries.ts';
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
const MAX_PER_ENDPOINT = 4;
const TURNED_AWAY_MS = 1_000;
const MAX_TURNED_AWAY_MS = 60_000;

/** What has become of a delivery in this round of it, and where it is still pending when to try again. */
export type DeliveryOutcome = { round: number } & (
  | { status: Exclude<DeliveryStatus, 'pending'>; turnedAway?: never }
  | {
      status: 'pending';
      retryInMs: number;
      /** Nothing was tried, because the endpoint is busy with other deliveries. */
      turnedAway?: true;
    }
);

export function createWebhookActivities({
  db,
  sendWebhook,
  retrySchedule,
  disableAfterMs,
}: WebhookActivityDeps) {
  const busy = new Map<string, number>();

  return {
    /**
     * Tries once to deliver. `turnedAway` says how often in a row the endpoint was busy. Fails, to be run again elsewhere,
     * where this process stops meanwhile.
     */
    async deliverWebhook(id: string, turnedAway: number): Promise<DeliveryOutcome> {
      const delivery = await findDeliveryToSend(db, id);
      if (!delivery) return { status: 'failed', round: 0 };
      const {
        endpointId,
        status,
        round,
        failures,
        payload: body,
        url,
        enabled,
        secrets,
        failingSince,
      } = delivery;
      if (status !== 'pending') return { status, round };
      if (!enabled) {
        const attempt = { at: new Date().toISOString(), error: 'The endpoint is disabled', durationMs: 0 };
        await recordAttempt(db, { id, round }, attempt, { status: 'failed' });
        return { status: 'failed', round };
      }

      const others = busy.get(endpointId) ?? 0;
      if (others >= MAX_PER_ENDPOINT) {
        const pause = Math.min(TURNED_AWAY_MS * 2 ** turnedAway, MAX_TURNED_AWAY_MS);
        return {
          status: 'pending',
          round,
          turnedAway: true,
          retryInMs: Math.round(pause * (0.5 + Math.random())),
        };
      }
      busy.set(endpointId, others + 1);
      const began = Date.now();
      const answer = await sendWebhook({ id, url, body, secrets }, cancellationSignal()).finally(() => {
        const left = busy.get(endpointId)! - 1;
        if (left > 0) busy.set(endpointId, left);
        else busy.delete(endpointId);
      });

      const now = Date.now();
      const { retryAfterMs, ...told } = answer;
      const attempt: DeliveryAttempt = {
        at: new Date(began).toISOString(),
        ...told,
        durationMs: now - began,
      };
      const verdict = judge(
        { ...attempt, ...(retryAfterMs !== undefined && { retryAfterMs }) },
        {
          failures,
          schedule: retrySchedule,
          chance: Math.random(),
          failingForMs: failingSince ? now - failingSince.getTime() : 0,
          disableAfterMs,
        },
      );
      await recordAttempt(db, { id, round }, attempt, verdict);
      if (verdict.status === 'failed' && verdict.disables) {
        log.warn('A webhook endpoint was disabled', { endpointId, reason: verdict.disables });
      }
      return verdict.status === 'pending' ? { ...verdict, round } : { status: verdict.status, round };
    },
  };
}

export type WebhookActivities = ReturnType<typeof createWebhookActivities>;

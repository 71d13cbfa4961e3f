export const DELIVERY_STATUSES = ['pending', 'delivered', 'failed'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

/** Why we disabled an endpoint: it answered 410, or nothing reached it for days. */
export type DisabledReason = 'gone' | 'failing';

/** One try to deliver: what the endpoint answered, or why there is no answer. */
export interface DeliveryAttempt {
  at: string;
  status?: number;
  error?: string;
  durationMs: number;
}

/** The body of every webhook, as https://www.standardwebhooks.com has it. */
export interface WebhookPayload {
  type: string;
  timestamp: string;
  data: Record<string, unknown>;
}

/** The type of the event that `POST /v1/webhook-endpoints/:id/test` sends. */
export const TEST_EVENT = 'webhook.test';

const HTTP_GONE = 410;
const LONGEST_WAIT_MS = 24 * 3_600_000;
/** Retries of deliveries that failed together do not come together. */
const JITTER = 0.1;

export type Verdict =
  | { status: 'delivered' }
  | { status: 'failed'; disables?: DisabledReason }
  | { status: 'pending'; retryInMs: number };

/**
 * What becomes of a delivery after an attempt. `failures` counts those before it, `schedule` has the milliseconds before
 * each retry, `chance` is from 0 to 1. An endpoint that has been failing for longer than `disableAfterMs` when a delivery
 * is given up is disabled.
 */
export function judge(
  attempt: DeliveryAttempt & { retryAfterMs?: number },
  {
    failures,
    schedule,
    chance,
    failingForMs,
    disableAfterMs,
  }: {
    failures: number;
    schedule: readonly number[];
    chance: number;
    failingForMs: number;
    disableAfterMs: number;
  },
): Verdict {
  const { status = 0, retryAfterMs = 0 } = attempt;
  if (status >= 200 && status < 300) return { status: 'delivered' };
  if (status === HTTP_GONE) return { status: 'failed', disables: 'gone' };
  const planned = schedule[failures];
  if (planned === undefined) {
    return { status: 'failed', ...(failingForMs >= disableAfterMs && { disables: 'failing' }) };
  }
  const asked = Math.min(retryAfterMs, LONGEST_WAIT_MS);
  return { status: 'pending', retryInMs: Math.max(Math.round(planned * (1 + JITTER * chance)), asked) };
}

import { randomUUID } from 'node:crypto';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';
import type { z } from 'zod';
import { WebhookRefused } from './webhook-refused.ts';

const HEADERS = ['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const;

/**
 * The JSON of a webhook that is signed as https://www.standardwebhooks.com asks for: HMAC-SHA256 with the secret
 * (`whsec_` and base64), one of several signatures, at most five minutes old. `body` is what came over the wire, byte
 * for byte, and has to be of the shape of `schema`. Throws a WebhookRefused.
 */
export function verifyWebhook<T>(
  secret: string,
  headers: Record<string, string | string[] | undefined>,
  body: Buffer,
  schema: z.ZodType<T>,
): T {
  const signed = Object.fromEntries(
    HEADERS.map((name) => {
      const value = headers[name];
      return [name, typeof value === 'string' ? value : ''];
    }),
  );
  try {
    new Webhook(secret).verify(body, signed, { jsonParse: false });
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    throw new WebhookRefused('bad_signature', `${error.message}.`);
  }
  return readWebhookBody(body, schema);
}

function readWebhookBody<T>(body: Buffer, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(body.toString()));
  } catch {
    throw new WebhookRefused('unreadable', 'The body is not what this webhook sends.');
  }
}

/** The headers with which the mock companies sign the body of a webhook, now. */
export function signMockWebhook(secret: string, body: string): Record<(typeof HEADERS)[number], string> {
  const id = `msg_${randomUUID()}`;
  const now = new Date();
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign(id, now, body),
  };
}

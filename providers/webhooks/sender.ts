import { type ClientRequest, request as sendHttp, type IncomingMessage } from 'node:http';
import { request as sendHttps } from 'node:https';
import { Webhook } from 'standardwebhooks';
import { AddressRefused, lookupAny, lookupPublic, objectionTo } from './address-guard.ts';

export interface WebhookMessage {
  /** Stays the same over all retries. */
  id: string;
  url: string;
  body: string;
  /** Each signs, the newest first. */
  secrets: string[];
}

/** What an endpoint answered, or why there is no answer: in a word of ours, because admins read it. */
export interface WebhookAnswer {
  status?: number;
  error?: string;
  retryAfterMs?: number;
}

/** Throws nothing but what `signal` was aborted with. */
export type SendWebhook = (message: WebhookMessage, signal: AbortSignal) => Promise<WebhookAnswer>;

export interface WebhookSenderOptions {
  timeoutMs: number;
  /** Also over plain HTTP and to addresses that are not on the public Internet. */
  allowPrivate: boolean;
}

/** An answer is read to its end so far, so that the endpoint sees an orderly exchange; nobody looks at it. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Sends webhooks as https://www.standardwebhooks.com asks for: signed anew at every try, redirects not followed, each on a
 * connection of its own. Answers with whatever comes of it.
 */
export const createWebhookSender =
  ({ timeoutMs, allowPrivate }: WebhookSenderOptions): SendWebhook =>
  async ({ id, url, body, secrets }, signal) => {
    const objection = objectionTo(url, { allowPrivate });
    if (objection !== undefined) return { error: objection };
    const now = new Date();
    const headers = {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      'user-agent': 'Holdfast-Webhooks',
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': secrets.map((secret) => new Webhook(secret).sign(id, now, body)).join(' '),
    };
    const send = new URL(url).protocol === 'https:' ? sendHttps : sendHttp;
    const tooLate = AbortSignal.timeout(timeoutMs);
    try {
      const request = send(url, {
        method: 'POST',
        headers,
        agent: false,
        signal: AbortSignal.any([signal, tooLate]),
        lookup: allowPrivate ? lookupAny : lookupPublic,
      });
      const { statusCode: status = 0, headers: answered } = await exchange(request, body);
      const retryAfterMs = readRetryAfter(answered['retry-after'], now.getTime());
      return {
        status,
        ...(status >= 300 && status < 400 && { error: 'Redirects are not followed' }),
        ...(retryAfterMs !== undefined && { retryAfterMs }),
      };
    } catch (error) {
      signal.throwIfAborted();
      if (tooLate.aborted) return { error: `No answer within ${timeoutMs / 1000} s` };
      return { error: reasonOf(error) };
    }
  };

/** An answer counts once its headers are there, whatever becomes of its body. */
function exchange(request: ClientRequest, body: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let answer: IncomingMessage | undefined;
    const settle = (error = new Error('The connection was closed')): void => {
      if (answer) resolve(answer);
      else reject(error);
    };
    request.on('error', settle);
    request.once('close', settle);
    request.once('upgrade', (response, socket) => {
      answer = response;
      socket.destroy();
      settle();
    });
    request.once('response', (response) => {
      answer = response;
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_ANSWER_BYTES) request.destroy();
      });
      response.once('end', settle);
      response.on('error', settle);
    });
    request.end(body);
  });
}

/** In seconds, or a date (RFC 9110, section 10.2.3). */
function readRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  const at = /^\d{1,9}$/.test(value) ? now + Number(value) * 1000 : Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

function reasonOf(error: unknown): string {
  if (error instanceof AddressRefused) return error.message;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? `No connection (${code})` : 'No connection';
}

import type { IncomingHttpHeaders } from 'node:http';

/**
 * Checks and reads a webhook of the company `name`; undefined where it says nothing of interest. `body` is what came
 * over the wire. Throws `not_found` for a company that is not configured, `invalid_signature` and `validation_failed`.
 */
export type ReadWebhook<News> = (
  name: string,
  headers: IncomingHttpHeaders,
  body: Buffer,
) => Promise<News | undefined>;

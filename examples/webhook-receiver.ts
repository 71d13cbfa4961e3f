/**
 * Receives the shop's webhooks, signed as https://www.standardwebhooks.com says, and prints each event once.
 *
 *     WEBHOOK_SECRET=whsec_... PORT=4000 node --import tsx examples/webhook-receiver.ts
 */
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';

const webhook = new Webhook(process.env['WEBHOOK_SECRET'] ?? '');

/** A webhook may come twice, with the same id. A shop keeps these in its database, in the transaction of what it does. */
const seen = new Set<string>();

const server = createServer((request, response) => {
  void (async () => {
    const body = await buffer(request);
    const id = String(request.headers['webhook-id']);
    try {
      // Over the very bytes that came: a body that was parsed and written again has another signature.
      const event = webhook.verify(body, request.headers as Record<string, string>) as {
        type: string;
        data: unknown;
      };
      if (!seen.has(id)) console.log(`${event.type} ${JSON.stringify(event.data)}`);
      seen.add(id);
      response.writeHead(204).end();
    } catch (error) {
      const isForged = error instanceof WebhookVerificationError;
      console.log(`Refused: ${(error as Error).message}`);
      response.writeHead(isForged ? 401 : 400).end();
    }
  })();
});

server.listen(Number(process.env['PORT'] ?? 4000), '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  console.log(`Listening on http://127.0.0.1:${port}`);
});
process.once('SIGTERM', () => server.close());

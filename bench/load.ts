import { randomInt, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { buyer } from './buyer.ts';
import { serveRounds } from './rounds.ts';

/** Where and as whom the load generator places orders, and of what; given in the environment as JSON. */
export interface OrderLoad {
  url: string;
  tokens: string[];
  skus: string[];
}

const { url, tokens, skus } = JSON.parse(process.env['ORDER_LOAD']!) as OrderLoad;
const agent = new Agent({ keepAlive: true });
const pick = <T>(values: T[]): T => values[randomInt(values.length)]!;

serveRounds({
  async operation(load) {
    const lines = Array.from({ length: randomInt(1, 3) }, () => ({
      sku: pick(skus),
      quantity: randomInt(1, 4),
    }));
    const { status, text } = await post(
      JSON.stringify({
        lines,
        ...buyer,
      }),
      // In a burst buyers are thanked at once, and hear the outcome by mail.
      'burst' in load && load.burst ? { prefer: 'respond-async' } : {},
    );
    const answer = JSON.parse(text) as { status?: string; code?: string };
    return `${status} ${answer.code ?? answer.status}`;
  },
});

function post(
  body: string,
  more: Record<string, string>,
): Promise<{ status: number | undefined; text: string }> {
  const headers = {
    authorization: `Bearer ${pick(tokens)}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'idempotency-key': randomUUID(),
    ...more,
  };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/v1/orders`, { method: 'POST', agent, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, text }));
    });
    sent.on('error', reject).end(body);
  });
}

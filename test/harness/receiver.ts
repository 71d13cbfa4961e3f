import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';

/** A webhook as it arrived. */
export interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  raw: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into bodies of every shape
  body: any;
  at: number;
}

type Respond = (received: Received, response: ServerResponse, earlier: number) => void;

/** A server that takes webhooks: what came to each path, and what it answers there (200 unless told otherwise). */
export interface Receiver {
  url(path: string): string;
  received(path: string): Received[];
  /** How many requests there were at the same time at the most. */
  mostAtOnce(path: string): number;
  respond(path: string, respond: Respond): void;
  stop(): Promise<void>;
}

export async function startReceiver(): Promise<Receiver> {
  const all: Received[] = [];
  const responders = new Map<string, Respond>();
  const open = new Map<string, number>();
  const most = new Map<string, number>();
  const count = (path: string, change: number): void => {
    const now = (open.get(path) ?? 0) + change;
    open.set(path, now);
    most.set(path, Math.max(now, most.get(path) ?? 0));
  };
  const server = createServer((request, response) => {
    count(request.url!, 1);
    response.once('close', () => count(request.url!, -1));
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const raw = Buffer.concat(chunks).toString();
      const path = request.url!;
      const body: unknown = raw === '' ? undefined : JSON.parse(raw);
      const received = { path, headers: request.headers, raw, body, at: Date.now() };
      const earlier = all.filter((one) => one.path === path).length;
      all.push(received);
      const respond = responders.get(path);
      if (respond) respond(received, response, earlier);
      else response.end();
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: (path) => `http://127.0.0.1:${port}${path}`,
    received: (path) => all.filter((one) => one.path === path),
    mostAtOnce: (path) => most.get(path) ?? 0,
    respond: (path, respond) => void responders.set(path, respond),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Whether a webhook is signed with this secret, as the package of the Standard Webhooks says. */
export function isSignedWith(secret: string, { raw, headers }: Received): boolean {
  try {
    new Webhook(secret).verify(raw, headers as Record<string, string>);
    return true;
  } catch {
    return false;
  }
}

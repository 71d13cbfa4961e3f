import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** `lost`: the API gets the request and its answer never arrives. A status: the answer is that, and the API hears nothing. */
export type Fault = 'lost' | 429 | 502 | 503;

export interface FaultyProxy {
  url: string;
  /** What happens to the next requests; then all is well. */
  faults: Fault[];
  /** The requests that came, with their headers. */
  seen: { line: string; headers: IncomingMessage['headers'] }[];
  /** The API that requests go to. */
  target: string;
  close(): void;
}

/** A bad line between a client and the API. */
export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  const forward = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const line = `${request.method} ${request.url}`;
    proxy.seen.push({ line, headers: request.headers });
    const body = await buffer(request);
    const fault = proxy.faults.shift();
    if (typeof fault === 'number') {
      response.writeHead(fault, { 'retry-after': '0', 'content-type': 'text/html' }).end('<h1>busy</h1>');
      return;
    }
    const { host: _, connection: __, 'content-length': ___, ...headers } = request.headers;
    const answer = await fetch(proxy.target + request.url, {
      method: request.method!,
      headers: headers as Record<string, string>,
      body: body.length > 0 ? body : null,
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (fault === 'lost') response.destroy();
    else
      response
        .writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
        .end(bytes);
  };
  const server = createServer((request, response) => {
    forward(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy: FaultyProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    faults: [],
    seen: [],
    target,
    close: () => server.close().closeAllConnections(),
  };
  return proxy;
}

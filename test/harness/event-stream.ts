import { Agent, type ClientRequest, get, type IncomingMessage } from 'node:http';
import type { RecordedEvent } from '../../domain/events.ts';
import { eventually } from './wait.ts';

export interface HeardEvent extends RecordedEvent {
  id: string;
}

/** A listener at `GET /v1/events`. */
export interface HeardStream {
  status: number;
  headers: IncomingMessage['headers'];
  events: HeardEvent[];
  /** The id to resume from, also before any event. */
  lastId(): string | undefined;
  comments(): number;
  ended(): boolean;
  /** Stops, and begins again, to take what is sent. */
  pause(): void;
  resume(): void;
  close(): void;
  /** Waits for so many events. */
  until(count: number, seconds?: number): Promise<HeardEvent[]>;
}

/** Listens at `url`, the whole of `/v1/events?...`. */
export async function listenAt(
  url: string,
  token: string,
  headers: Record<string, string> = {},
): Promise<HeardStream> {
  let request: ClientRequest | undefined;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    // As browsers do: the connection would be kept for the next request.
    const agent = new Agent({ keepAlive: true });
    request = get(url, { agent, headers: { authorization: `Bearer ${token}`, ...headers } }, resolve);
    request.once('error', reject);
  });
  const events: HeardEvent[] = [];
  let lastId: string | undefined;
  let comments = 0;
  let ended = false;
  let rest = '';
  const readBlock = (block: string): void => {
    const fields = new Map<string, string>();
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) comments += 1;
      const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
      if (name !== undefined) fields.set(name, value!);
    }
    lastId = fields.get('id') ?? lastId;
    const data = fields.get('data');
    if (data === undefined) return;
    const event = JSON.parse(data) as RecordedEvent;
    if (event.type !== fields.get('event')) throw new Error(`${event.type} came as ${fields.get('event')}`);
    events.push({ ...event, id: lastId! });
  };
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop()!;
    for (const block of blocks) readBlock(block);
  });
  response.once('close', () => (ended = true));
  response.once('error', () => (ended = true));
  request!.on('error', () => (ended = true));
  return {
    status: response.statusCode!,
    headers: response.headers,
    events,
    lastId: () => lastId,
    comments: () => comments,
    ended: () => ended,
    pause: () => void response.pause(),
    resume: () => void response.resume(),
    close: () => void request!.destroy(),
    until: (count, seconds) =>
      eventually(`${count} events are heard`, () => events.length >= count && events, seconds),
  };
}

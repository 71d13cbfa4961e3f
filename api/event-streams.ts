import type { Request, Response } from 'express';
import type { EventPosition } from '../db/recorded-events.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import type { RecordedEvent } from '../domain/events.ts';
import type { EventFeed, FeedEvent } from './event-feed.ts';
import type { Caller } from './tokens.ts';

export interface EventStreams {
  /** Answers with an endless stream of the events that `wants` lets through, from behind `after` on. */
  open(
    request: Request,
    response: Response,
    stream: {
      caller: Caller;
      after: EventPosition;
      wants(event: RecordedEvent): boolean;
      isAllowed(): Promise<boolean>;
    },
  ): void;
  /** Ends all streams; each can be resumed, here or elsewhere. */
  close(): void;
}

/** How many streams one caller may have open. Staff may be a gateway with a stream for each screen. */
const MOST_OF_CALLER = { customer: 20, staff: 5_000, admin: 5_000 } as const;
const MOST = 10_000;
const RETRY_AFTER_SECONDS = 5;
const TICK_MS = 1_000;
/** So much may wait for a listener to take it, then it is given no more. */
const MOST_WAITING_BYTES = 256 * 1024;
/** Who takes nothing for so long is let go. */
const STALLED_MS = 60_000;

const HEADERS = {
  'Content-Type': 'text/event-stream',
  // Else the connection would outlive its stream, and a process that stops would wait for it.
  Connection: 'close',
  'Cache-Control': 'no-store',
  'X-Accel-Buffering': 'no',
};

interface Stream {
  response: Response;
  isAllowed(): Promise<boolean>;
  /** Gives it no more, and ends it once all that waits has been taken. */
  end(): void;
  nextHeartbeat: number;
  /** Since when it takes nothing, or has been told to end. */
  stalledSince: number | undefined;
}

const cursorOf = ({ xid, position }: EventPosition): string => `${xid}-${position}`;

/** An event as server-sent: its text is made once for all who get it. */
const texts = new WeakMap<FeedEvent, string>();
function textOf(event: FeedEvent): string {
  let text = texts.get(event);
  if (text === undefined) {
    const { position, ...data } = event;
    text = `id: ${cursorOf(position)}\nevent: ${event.type}\ndata: ${JSON.stringify(data)}\n\n`;
    texts.set(event, text);
  }
  return text;
}

/**
 * Streams of server-sent events (https://html.spec.whatwg.org/#server-sent-events) out of one feed. Every `heartbeatMs` each
 * gets a comment, so that nobody in between takes the connection for dead, and ends if its caller may not hear any more.
 */
export function createEventStreams(feed: EventFeed, heartbeatMs: number): EventStreams {
  const streams = new Set<Stream>();
  const ofCaller = new Map<string, number>();

  const timer = setInterval(() => {
    const now = Date.now();
    for (const stream of streams) {
      const { response, stalledSince } = stream;
      if (stalledSince !== undefined && now - stalledSince > STALLED_MS) response.destroy();
      if (response.writableEnded || now < stream.nextHeartbeat) continue;
      stream.nextHeartbeat = now + heartbeatMs;
      if (stalledSince === undefined) response.write(':\n\n');
      void stream.isAllowed().then((allowed) => allowed || stream.end());
    }
  }, TICK_MS);

  return {
    open(request, response, { caller, after, wants, isAllowed }) {
      if (request.method === 'HEAD') {
        response.writeHead(200, HEADERS).end();
        return;
      }
      const open = ofCaller.get(caller.id) ?? 0;
      if (open >= MOST_OF_CALLER[caller.role] || streams.size >= MOST) {
        response.setHeader('Retry-After', String(RETRY_AFTER_SECONDS));
        throw new OrderPlatformError('rate_limited', 'Too many streams are open. Please close one first.');
      }
      const stream: Stream = {
        response,
        isAllowed,
        end() {
          if (response.writableEnded) return;
          subscription.leave();
          stream.stalledSince ??= Date.now();
          response.end();
        },
        nextHeartbeat: Date.now() + heartbeatMs,
        stalledSince: undefined,
      };
      ofCaller.set(caller.id, open + 1);
      streams.add(stream);
      response.writeHead(200, HEADERS);
      // A client that is cut off before the first event resumes from here.
      response.write(`retry: 2000\nid: ${cursorOf(after)}\n: events from here on\n\n`);

      const subscription = feed.subscribe(
        {
          take(event) {
            if (!wants(event) || response.write(textOf(event))) return true;
            if (response.writableLength < MOST_WAITING_BYTES) return true;
            stream.stalledSince ??= Date.now();
            return false;
          },
          end: () => void response.end(),
        },
        after,
      );
      response.on('drain', () => {
        if (response.writableEnded) return;
        stream.stalledSince = undefined;
        subscription.resume();
      });
      // A connection that breaks: `close` follows.
      response.on('error', () => undefined);
      response.once('close', () => {
        subscription.leave();
        streams.delete(stream);
        const left = ofCaller.get(caller.id)! - 1;
        if (left > 0) ofCaller.set(caller.id, left);
        else ofCaller.delete(caller.id);
      });
    },
    close() {
      clearInterval(timer);
      feed.close();
    },
  };
}

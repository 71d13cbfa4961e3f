import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { Db } from '../db/connect.ts';
import type { Listener } from '../db/listener.ts';
import {
  comparePositions,
  type EventPage,
  type EventPosition,
  EVENTS_CHANNEL,
  readEvents,
} from '../db/recorded-events.ts';

export type FeedEvent = EventPage['events'][number];

export interface Subscriber {
  /** Takes the next event; false where it takes no more for now, after this one. */
  take(event: FeedEvent): boolean;
  /** Hears that there will be no more. */
  end(): void;
}

/** The recorded events as they come, for any number of subscribers at the cost of one. */
export interface EventFeed {
  /** Gives a subscriber every event behind `after`, each once and in order, until `leave`. */
  subscribe(subscriber: Subscriber, after: EventPosition): { resume(): void; leave(): void };
  /** Ends all subscriptions: the process is going to stop. */
  close(): void;
}

interface Seat {
  subscriber: Subscriber;
  /** Up to here it was given everything. */
  at: EventPosition;
  /** `live`: gets what the feed reads; `behind`: what it reads for itself; `full`: nothing before it resumes. */
  mode: 'live' | 'behind' | 'full';
  reading: boolean;
  /** Is further than the feed was when it went live. */
  ahead: boolean;
}

/** Reads also without being told, because a message can be lost with its connection. */
const LOOK_EVERY_MS = 1_000;
/** So many of those that are behind read at once, of a pool that others need. */
const READERS = 2;

/**
 * One reading of the table serves all who are up to date; it happens when `listener` hears of new events. Who has something
 * to catch up with, or is slow to take what it is given, reads for itself, at its own pace, and joins the others when it is
 * where they are: nothing is buffered for anybody.
 */
export function createEventFeed(db: Db, listener: Listener, logger: Logger): EventFeed {
  const seats = new Set<Seat>();
  const readers = pLimit(READERS);
  /** Up to here the feed has read; undefined while nobody is live. */
  let through: EventPosition | undefined;
  let reading = false;
  let again = false;
  let closed = false;

  const give = (seat: Seat, event: FeedEvent): void => {
    seat.at = event.position;
    if (!seat.subscriber.take(event)) seat.mode = 'full';
  };

  const catchUp = async (seat: Seat): Promise<void> => {
    if (seat.reading) return;
    seat.reading = true;
    try {
      while (seat.mode === 'behind' && seats.has(seat)) {
        const page = await readers(() => readEvents(db, seat.at));
        if (!seats.has(seat)) return;
        for (const event of page.events) {
          if (seat.mode === 'behind') give(seat, event);
        }
        if (seat.mode !== 'behind') return;
        seat.at = page.through;
        through ??= seat.at;
        if (comparePositions(seat.at, through) < 0) continue;
        seat.ahead = comparePositions(seat.at, through) > 0;
        seat.mode = 'live';
      }
    } finally {
      seat.reading = false;
    }
  };

  const catchUpQuietly = (seat: Seat): void => {
    catchUp(seat).catch((error: unknown) => logger.warn({ err: error }, 'Events could not be read'));
  };

  const readOn = async (): Promise<void> => {
    const live = [...seats].filter(({ mode }) => mode === 'live');
    if (live.length === 0 || !through) {
      through = undefined;
      return;
    }
    const from = through;
    const page = await readEvents(db, from);
    if (through !== from) {
      // Who was read for has left meanwhile, and others may have gone live elsewhere.
      again = true;
      return;
    }
    for (const seat of seats) {
      for (const event of page.events) {
        if (seat.mode !== 'live') break;
        if (!seat.ahead || comparePositions(event.position, seat.at) > 0) give(seat, event);
      }
      if (seat.mode !== 'live') continue;
      seat.ahead &&= comparePositions(seat.at, page.through) > 0;
      if (!seat.ahead) seat.at = page.through;
    }
    again ||= page.more;
    through = seats.size > 0 ? page.through : undefined;
  };

  const wake = async (): Promise<void> => {
    again = true;
    if (reading) return;
    reading = true;
    try {
      while (again) {
        again = false;
        await readOn();
      }
    } catch (error) {
      logger.warn({ err: error }, 'Events could not be read');
    } finally {
      reading = false;
    }
  };
  const wakeAll = (): void => {
    if (seats.size === 0) return;
    for (const seat of seats) if (seat.mode === 'behind') catchUpQuietly(seat);
    void wake();
  };
  listener.on(EVENTS_CHANNEL, wakeAll);
  listener.onConnected(wakeAll);
  const timer = setInterval(wakeAll, LOOK_EVERY_MS);

  return {
    subscribe(subscriber, after) {
      const seat: Seat = { subscriber, at: after, mode: 'behind', reading: false, ahead: false };
      if (closed) subscriber.end();
      else seats.add(seat);
      catchUpQuietly(seat);
      return {
        resume() {
          if (seat.mode !== 'full') return;
          seat.mode = 'behind';
          catchUpQuietly(seat);
        },
        leave() {
          seats.delete(seat);
          if (seats.size === 0) through = undefined;
        },
      };
    },
    close() {
      closed = true;
      clearInterval(timer);
      for (const { subscriber } of seats) subscriber.end();
      seats.clear();
    },
  };
}

import type { Push, PushService } from './push.ts';

/** What it sent; a message of the same id counts once. */
export interface PushBooks {
  keep(message: Push): Promise<void>;
}

/** A push service that is not there and keeps what it would have sent. */
export const mockPush = (books: PushBooks): PushService => ({
  concurrency: 8,
  send: (message) => books.keep(message),
});

import type { Request, RequestHandler, Response } from 'express';
import { ipKeyGenerator, rateLimit } from 'express-rate-limit';
import { OrderPlatformError } from '../domain/errors.ts';
import type { SharedCounts } from './shared-counts.ts';
import type { Caller } from './tokens.ts';

const MINUTE = { windowMs: 60_000, standardHeaders: 'draft-8', legacyHeaders: false } as const;

const refuse = (detail: string) => () => {
  throw new OrderPlatformError('rate_limited', detail);
};

/** The address of a request; an IPv6 network counts as one. */
export const addressOf = (request: Request): string => ipKeyGenerator(request.ip ?? 'unknown');

/** Limits the requests of a caller, or, where there is none, of an address, to so many a minute. */
export const limitRequests = (counts: SharedCounts, limit: number): RequestHandler =>
  rateLimit({
    ...MINUTE,
    limit,
    store: counts.store(`requests ${limit}`),
    keyGenerator: (request, response) =>
      (response.locals.caller as Caller | undefined)?.id ?? addressOf(request),
    handler: refuse('Too many requests. Please slow down.'),
  });

/** An attempt that counts until it is taken back. */
interface Attempt {
  /** It goes on with another try, which counts as well; throws `rate_limited` where that is one too many. */
  countAgain(): Promise<void>;
  /** It succeeded: it does not count. */
  takeBack(): void;
  /** Neither it nor those before it count. */
  forgive(): void;
}

/** Counts an attempt under a key; throws `rate_limited` where there were too many, and says when to come back. */
export type AttemptLimit = (request: Request, response: Response, key: string) => Promise<Attempt>;

/** At most `limit` failed logins of an account from an address in a minute. */
export const limitLogins = (counts: SharedCounts, limit: number): AttemptLimit =>
  limitAttempts(counts, 'logins', limit, 'Too many failed logins. Please wait a minute.');

/** Registrations that are refused are told by address alone, which many people may share. */
const REFUSED_REGISTRATIONS = 10;

/** At most ten times as many refused registrations from an address in a minute as failed logins. */
export const limitRegistrations = (counts: SharedCounts, loginLimit: number): AttemptLimit =>
  limitAttempts(
    counts,
    'registrations',
    loginLimit * REFUSED_REGISTRATIONS,
    'Too many registrations of emails that have an account. Please wait a minute.',
  );

function limitAttempts(counts: SharedCounts, name: string, limit: number, detail: string): AttemptLimit {
  const store = counts.store(`${name} ${limit}`);
  const limiter = rateLimit({
    ...MINUTE,
    limit,
    identifier: name,
    store,
    keyGenerator: (_request, response) => response.locals.attempted as string,
    handler: refuse(detail),
  });
  return async (request, response, key) => {
    response.locals.attempted = key;
    let failure: unknown;
    await limiter(request, response, (error?: unknown) => {
      failure = error;
    });
    if (failure) throw failure;
    return {
      async countAgain() {
        const { totalHits, resetTime } = await store.increment(key);
        if (totalHits <= limit) return;
        if (resetTime)
          response.setHeader('Retry-After', Math.ceil((resetTime.getTime() - Date.now()) / 1000));
        refuse(detail)();
      },
      takeBack: () => void store.decrement(key),
      forgive: () => void store.resetKey(key),
    };
  };
}

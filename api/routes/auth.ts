import { randomUUID } from 'node:crypto';
import { hash, verify } from '@node-rs/argon2';
import type { Request, Response } from 'express';
import { ipKeyGenerator, rateLimit } from 'express-rate-limit';
import pLimit from 'p-limit';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { insertRefreshToken, revokeRefreshTokens, rotateRefreshToken } from '../../db/refresh-tokens.ts';
import { findUserByEmail } from '../../db/users.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { mergeVisitorsCart } from '../cart-owner.ts';
import { type Endpoint, endpoint } from '../endpoint.ts';
import {
  ACCESS_TOKEN_SECONDS,
  type AccessTokens,
  type Caller,
  hashRefreshToken,
  newRefreshToken,
} from '../tokens.ts';

const REFRESH_TOKEN_DAYS = 30;
const MAX_WAITING_LOGINS = 100;

const tokenPair = z
  .object({
    accessToken: z.string(),
    expiresIn: z.int().meta({ description: 'Seconds' }),
    refreshToken: z.string(),
  })
  .meta({ id: 'Tokens' });
const credentials = z.strictObject({
  email: z
    .string()
    .max(320)
    .transform((email) => email.replaceAll('\0', '')),
  password: z.string().max(1000),
});
const refreshToken = z.strictObject({ refreshToken: z.string().max(200) });

export interface AuthDeps {
  db: Db;
  tokens: AccessTokens;
  loginLimitPerMinute: number;
}

export function authEndpoints({ db, tokens, loginLimitPerMinute }: AuthDeps): Endpoint[] {
  const noSuchUser = hash('a password nobody has');
  const limitLogins = loginLimiter(loginLimitPerMinute);
  /** Checking a password is costly by design: a few at a time leave the machine to the orders. */
  const checks = pLimit(2);

  const newToken = () => {
    const expiresAt = new Date(Date.now() + REFRESH_TOKEN_DAYS * 86_400_000);
    return { ...newRefreshToken(), expiresAt };
  };
  const sendTokens = async (response: Response, caller: Caller, refresh: string) => {
    const accessToken = await tokens.issue(caller);
    response
      .setHeader('Cache-Control', 'no-store')
      .json({ accessToken, expiresIn: ACCESS_TOKEN_SECONDS, refreshToken: refresh });
  };

  return [
    endpoint({
      method: 'post',
      path: '/v1/auth/login',
      tag: 'Authentication',
      summary: 'Log in with email and password',
      access: 'public',
      body: credentials,
      headers: { 'X-Cart-Token': { description: "A visitor's cart goes into the customer's, once" } },
      answers: { 200: { description: 'The tokens', body: tokenPair } },
      problems: ['invalid_credentials', 'validation_failed', 'rate_limited'],
      async handle({ body, request, response }) {
        const attempt = await limitLogins(request, response, body.email);
        if (checks.pendingCount >= MAX_WAITING_LOGINS) {
          response.setHeader('Retry-After', '2');
          throw new OrderPlatformError('rate_limited', 'Too many logins at once. Please try again.');
        }
        const user = await findUserByEmail(db, body.email);
        const known = await checks(async () =>
          verify(user?.passwordHash ?? (await noSuchUser), body.password),
        );
        if (!user?.passwordHash || !known) {
          throw new OrderPlatformError('invalid_credentials', 'The email or the password is wrong.');
        }
        attempt.forgive();
        await mergeVisitorsCart(db, user, request, response);
        const { token, tokenHash, expiresAt } = newToken();
        await insertRefreshToken(db, { tokenHash, expiresAt, family: randomUUID(), userId: user.id });
        await sendTokens(response, user, token);
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/auth/refresh',
      tag: 'Authentication',
      summary: 'Exchange a refresh token for new tokens; each works once',
      access: 'public',
      body: refreshToken,
      answers: { 200: { description: 'The new tokens', body: tokenPair } },
      problems: ['unauthenticated', 'validation_failed'],
      async handle({ body, response }) {
        const { token, ...successor } = newToken();
        const caller = await rotateRefreshToken(db, hashRefreshToken(body.refreshToken), successor);
        if (!caller) {
          throw new OrderPlatformError('unauthenticated', 'The refresh token is not valid any more.');
        }
        await sendTokens(response, caller, token);
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/auth/logout',
      tag: 'Authentication',
      summary: 'End the login of a refresh token',
      access: 'public',
      body: refreshToken,
      answers: { 204: { description: 'Logged out' } },
      problems: ['validation_failed'],
      async handle({ body, response }) {
        await revokeRefreshTokens(db, hashRefreshToken(body.refreshToken));
        response.status(204).end();
      },
    }),
  ];
}

/** Counts the failed logins of an account from an address; too many are `rate_limited` for the rest of a minute. */
function loginLimiter(limit: number) {
  const keyOf = (request: Request, email: string) =>
    `${email.trim().toLowerCase()} ${ipKeyGenerator(request.ip ?? 'unknown')}`;
  const limiter = rateLimit({
    windowMs: 60_000,
    limit,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    keyGenerator: (request, response) => keyOf(request, response.locals.loginEmail as string),
    handler: () => {
      throw new OrderPlatformError('rate_limited', 'Too many failed logins. Please wait a minute.');
    },
  });
  return async (request: Request, response: Response, email: string): Promise<{ forgive(): void }> => {
    response.locals.loginEmail = email;
    let failure: unknown;
    await limiter(request, response, (error?: unknown) => {
      failure = error;
    });
    if (failure) throw failure;
    return { forgive: () => limiter.resetKey(keyOf(request, email)) };
  };
}

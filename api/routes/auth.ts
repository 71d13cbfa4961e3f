import { randomUUID } from 'node:crypto';
import type { Request, Response } from 'express';
import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { type Customer, emailTaken, findCustomer, insertCustomer } from '../../db/customers.ts';
import {
  changePassword,
  openLogin,
  revokeRefreshTokens,
  rotateRefreshToken,
} from '../../db/refresh-tokens.ts';
import { findUser, findUserByEmail, type User } from '../../db/users.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import { commandIdFor } from '../../domain/ids.ts';
import { customer, newPassword, registration } from '../customer-schemas.ts';
import { mergeVisitorsCart } from '../cart-owner.ts';
import { type Endpoint, endpoint } from '../endpoint.ts';
import type { Passwords } from '../passwords.ts';
import { etagOf, markReplayed, readIdempotencyKey } from '../preconditions.ts';
import { addressOf, type AttemptLimit } from '../rate-limits.ts';
import {
  ACCESS_TOKEN_SECONDS,
  type AccessTokens,
  type Caller,
  hashRefreshToken,
  newRefreshToken,
} from '../tokens.ts';

const REFRESH_TOKEN_DAYS = 30;

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
const passwordChange = credentials.extend({ newPassword }).meta({ id: 'ChangePassword' });
const refreshToken = z.strictObject({ refreshToken: z.string().max(200) });

const invalidCredentials = () =>
  new OrderPlatformError('invalid_credentials', 'The email or the password is wrong.');

const accountDeleted = () =>
  new OrderPlatformError(
    'not_found',
    'The account of this registration was deleted. To register anew, send another Idempotency-Key.',
  );

export interface AuthDeps {
  db: Db;
  tokens: AccessTokens;
  passwords: Passwords;
  /** Failed logins, of an account from an address. */
  limitLogins: AttemptLimit;
  /** Registrations of emails that have an account, from an address. */
  limitRegistrations: AttemptLimit;
}

export function authEndpoints({
  db,
  tokens,
  passwords,
  limitLogins,
  limitRegistrations,
}: AuthDeps): Endpoint[] {
  /** The customer that this very request has registered before. Its password is told by its slow hash alone. */
  const registeredBefore = async (
    id: string,
    { name, password }: z.output<typeof registration>,
  ): Promise<Customer | undefined> => {
    const user = await findUser(db, id);
    const found = user && (await findCustomer(db, id));
    if (!found) return undefined;
    const isSame =
      (found.version > 1 || found.name === name) && (await passwords.matches(user.passwordHash, password));
    if (isSame) return found;
    throw new OrderPlatformError(
      'idempotency_key_reused',
      'This Idempotency-Key was used for a registration with another body.',
    );
  };

  const register = async (
    body: z.output<typeof registration>,
    request: Request,
    response: Response,
  ): Promise<Customer> => {
    const { email, password, name } = body;
    const key = readIdempotencyKey(request);
    const id =
      key === undefined ? randomUUID() : commandIdFor(email.toLowerCase(), 'POST /v1/auth/register', key);
    const attempt = await limitRegistrations(request, response, addressOf(request));
    const passwordHash = await passwords.hash(password);
    const registered = await insertCustomer(db, { id, email, name, passwordHash });
    const known = registered ?? (key === undefined ? undefined : await registeredBefore(id, body));
    if (!known) {
      const isTaken = key === undefined || (await findUserByEmail(db, email)) !== undefined;
      throw isTaken ? emailTaken() : accountDeleted();
    }
    if (!registered) markReplayed(response);
    attempt.takeBack();
    return known;
  };

  /**
   * The user with this email who has one of the passwords. Failed logins count by account and address together, one for
   * each password that is tried: nobody can lock another one out from elsewhere.
   */
  const logIn = async (
    { email }: z.output<typeof credentials>,
    given: string[],
    request: Request,
    response: Response,
  ): Promise<User> => {
    const user = await findUserByEmail(db, email);
    const account = `${email.trim().toLowerCase()} ${addressOf(request)}`;
    const attempt = await limitLogins(request, response, account);
    for (const [index, password] of given.entries()) {
      if (index > 0) await attempt.countAgain();
      if ((await passwords.matches(user?.passwordHash, password)) && user) {
        attempt.forgive();
        return user;
      }
    }
    throw invalidCredentials();
  };

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
      path: '/v1/auth/register',
      tag: 'Authentication',
      summary: 'Register as a customer',
      access: 'public',
      body: registration,
      headers: { 'Idempotency-Key': { description: 'Optional: the same key registers once' } },
      answers: {
        201: {
          description: 'The customer',
          body: customer,
          headers: { Location: 'Where it is', ETag: 'Its version' },
        },
      },
      problems: ['email_taken', 'not_found', 'invalid_idempotency_key', 'idempotency_key_reused'],
      async handle({ body, request, response }) {
        const registered = await passwords.inTurn(() => register(body, request, response));
        response
          .status(201)
          .setHeader('Location', `/v1/customers/${registered.id}`)
          .setHeader('ETag', etagOf(registered.version))
          .setHeader('Cache-Control', 'no-store')
          .json(registered);
      },
    }),
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
        const user = await passwords.inTurn(() => logIn(body, [body.password], request, response));
        const { token, ...stored } = newToken();
        // Both or neither: a login that cannot be opened, or whose cart cannot be merged now, is tried again as a whole.
        await db.transaction().execute(async (trx) => {
          if (!(await openLogin(trx, user, stored))) throw invalidCredentials();
          await mergeVisitorsCart(trx, user, request, response);
        });
        await sendTokens(response, user, token);
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/auth/password',
      tag: 'Authentication',
      summary: 'Change a password, log in with the new one, and end all other logins',
      access: 'public',
      body: passwordChange,
      answers: { 200: { description: 'The tokens', body: tokenPair } },
      problems: ['invalid_credentials', 'validation_failed', 'rate_limited'],
      async handle({ body, request, response }) {
        // Who asks again, having got no answer, has the new password already.
        const given = [body.password, body.newPassword];
        const { user, passwordHash } = await passwords.inTurn(async () => ({
          user: await logIn(body, given, request, response),
          passwordHash: await passwords.hash(body.newPassword),
        }));
        const { token, ...stored } = newToken();
        if (!(await changePassword(db, user, passwordHash, stored))) throw invalidCredentials();
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

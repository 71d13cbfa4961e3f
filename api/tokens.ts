import { createHash, randomBytes } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { LRUCache } from 'lru-cache';
import { OrderPlatformError } from '../domain/errors.ts';
import { type Role, ROLES } from '../domain/roles.ts';

export const ACCESS_TOKEN_SECONDS = 3600;
const ISSUER = 'holdfast';
const ALGORITHM = 'HS256';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Who calls. */
export interface Caller {
  id: string;
  role: Role;
}

/** The name under which a caller stands in timelines. */
export const actorOf = (caller: Caller): string => `${caller.role}:${caller.id}`;

export interface AccessTokens {
  issue(caller: Caller): Promise<string>;
  /** Throws `unauthenticated` for a token that is expired, forged, or not ours. */
  verify(token: string): Promise<Caller>;
}

const MAX_REMEMBERED = 10_000;

/**
 * Access tokens are JWTs (RFC 7519) signed with `secret`, good for an hour. Up to 10,000
 * that were found good are remembered until they expire, so that their signatures are not checked with every request.
 */
export function accessTokens(secret: string): AccessTokens {
  const key = createHash('sha256').update(secret).digest();
  const remembered = new LRUCache<string, { caller: Caller; expiresAt: number }>({ max: MAX_REMEMBERED });

  return {
    issue: ({ id, role }) =>
      new SignJWT({ role })
        .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' })
        .setSubject(id)
        .setIssuer(ISSUER)
        .setIssuedAt()
        .setExpirationTime(`${ACCESS_TOKEN_SECONDS}s`)
        .sign(key),
    async verify(token) {
      const good = remembered.get(token);
      if (good && Date.now() < good.expiresAt) return good.caller;
      remembered.delete(token);
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: [ALGORITHM],
          issuer: ISSUER,
          requiredClaims: ['sub', 'exp'],
        });
        const role = ROLES.find((known) => known === payload.role);
        if (role && payload.sub && UUID.test(payload.sub)) {
          const caller = Object.freeze({ id: payload.sub, role });
          remembered.set(token, { caller, expiresAt: payload.exp! * 1000 });
          return caller;
        }
      } catch {
        // told below: why a token is not good is nobody's business
      }
      throw new OrderPlatformError('unauthenticated', 'The access token is not valid or has expired.');
    },
  };
}

/** A new opaque refresh token, and the hash under which it is stored. */
export function newRefreshToken(): { token: string; tokenHash: string } {
  const token = randomBytes(32).toString('base64url');
  return { token, tokenHash: hashRefreshToken(token) };
}

export const hashRefreshToken = (token: string): string =>
  createHash('sha256').update(token).digest('base64url');

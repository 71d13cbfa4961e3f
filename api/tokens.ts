import { createHash, randomBytes } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { LRUCache } from 'lru-cache';
import { OrderPlatformError } from '../domain/errors.ts';
import { type Role, ROLES } from '../domain/roles.ts';
import type { KeyRing } from './key-ring.ts';

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

interface Remembered {
  caller: Caller;
  kid: string | undefined;
  expiresAt: number;
}

/**
 * Access tokens are JWTs (RFC 7519) signed with a key of `ring`, whose name they bear as `kid`, good for an hour. Up to
 * 10,000 that were found good are remembered until they expire or their key is dropped, so that their signatures are not
 * checked with every request.
 */
export function accessTokens(ring: KeyRing): AccessTokens {
  const remembered = new LRUCache<string, Remembered>({ max: MAX_REMEMBERED });
  const keyOf = async ({ kid }: { kid?: string }): Promise<Uint8Array> => {
    const key = await ring.find(kid);
    if (!key) throw new Error('The key of this token is not known.');
    return key;
  };

  return {
    issue({ id, role }) {
      const { kid, key } = ring.current();
      return new SignJWT({ role })
        .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT', kid })
        .setSubject(id)
        .setIssuer(ISSUER)
        .setIssuedAt()
        .setExpirationTime(`${ACCESS_TOKEN_SECONDS}s`)
        .sign(key);
    },
    async verify(token) {
      const good = remembered.get(token);
      if (good && Date.now() < good.expiresAt && ring.holds(good.kid)) return good.caller;
      remembered.delete(token);
      try {
        const { payload, protectedHeader } = await jwtVerify(token, keyOf, {
          algorithms: [ALGORITHM],
          issuer: ISSUER,
          requiredClaims: ['sub', 'exp'],
        });
        const role = ROLES.find((known) => known === payload.role);
        if (role && payload.sub && UUID.test(payload.sub)) {
          const caller = Object.freeze({ id: payload.sub, role });
          remembered.set(token, { caller, kid: protectedHeader.kid, expiresAt: payload.exp! * 1000 });
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

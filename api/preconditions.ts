import { createHash } from 'node:crypto';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { OrderPlatformError } from '../domain/errors.ts';
import type { WantedVersions } from '../domain/versions.ts';

const IF_MATCH = /^(W\/)?"[^"]*"([ \t]*,[ \t]*(W\/)?"[^"]*")*$/;
const TAGS = /(W\/)?"[^"]*"/g;
const IDEMPOTENCY_KEY = /^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/;

/** The headers that are refused where they do not look like this, for the description of the API. */
export const HEADER_SCHEMAS: Record<string, z.ZodType> = {
  'If-Match': z.union([z.literal('*'), z.string().regex(IF_MATCH)]),
  'Idempotency-Key': z.string().regex(IDEMPOTENCY_KEY),
};

/** The strong ETag of a version. */
export const etagOf = (version: number): string => `"${version}"`;

/** The strong ETag of an answer that has no version: the same for the same content. */
export const contentEtagOf = (body: unknown): string => `"${hashOf(body)}"`;

/**
 * The versions that `If-Match` wants (RFC 9110, section 13.1.1), or undefined where there is none. A tag that is well
 * formed but none of ours matches no version, which is told as -1.
 */
export function readIfMatch(request: Request): WantedVersions | undefined {
  const header = request.headers['if-match']?.trim();
  if (header === undefined || header === '*') return header;
  if (!IF_MATCH.test(header)) {
    throw new OrderPlatformError('invalid_header', 'If-Match takes entity tags, for example "3", or *.');
  }
  return header.match(TAGS)!.map((tag) => Number(/^"(0|[1-9]\d{0,8})"$/.exec(tag)?.[1] ?? -1));
}

/**
 * The one version that a thing has to be at, of which the caller has just read the `current` one: that where `If-Match`
 * has it, else another that it has. Undefined where any is good.
 */
export function expectedVersionOf(request: Request, current: number | undefined): number | undefined {
  const wanted = readIfMatch(request);
  if (wanted === undefined || wanted === '*') return undefined;
  return wanted.find((version) => version === current) ?? wanted[0];
}

/** Whether the caller has this very version already (RFC 9110, section 13.1.2), so that 304 is the answer. */
function isNotModified(request: Request, etag: string): boolean {
  const tags = (request.headers['if-none-match'] ?? '').split(',');
  return tags.some((tag) => ['*', etag].includes(tag.trim().replace(/^W\//, '')));
}

/** Answers with `body` under its ETag, or with 304 to a caller that has it already. */
export function sendUnlessKnown(request: Request, response: Response, etag: string, body: unknown): void {
  response.setHeader('ETag', etag);
  if (isNotModified(request, etag)) response.status(304).end();
  else response.json(body);
}

const MAX_WAIT_SECONDS = 30;
const DEFAULT_WAIT_SECONDS = 10;
/** For longer than Temporal takes to give a workflow task out again that got lost, which is 10 s. */
const DEFAULT_CHANGE_WAIT_SECONDS = 15;
const MIN_CHANGE_WAIT_MS = 1_000;

/**
 * How long to wait for a change, which has no 202, in milliseconds: by `Prefer` as well, but however short the caller's wait
 * is, for a second.
 */
export const readChangeWait = (request: Request): number =>
  Math.max(readPreferredWait(request, DEFAULT_CHANGE_WAIT_SECONDS), MIN_CHANGE_WAIT_MS);

/** How long the caller wants to wait for an outcome, by `Prefer` (RFC 7240), in milliseconds. */
export function readPreferredWait(request: Request, defaultSeconds = DEFAULT_WAIT_SECONDS): number {
  const preferences = String(request.headers.prefer ?? '').split(',');
  const wait = preferences
    .map((preference) => preference.trim().match(/^wait\s*=\s*"?(\d{1,6})"?/i)?.[1])
    .find(Boolean);
  if (wait !== undefined) return Math.min(Number(wait), MAX_WAIT_SECONDS) * 1000;
  const async = preferences.some((preference) => preference.trim().toLowerCase() === 'respond-async');
  return async ? 0 : defaultSeconds * 1000;
}

/**
 * The `Idempotency-Key` of a request, or undefined. Throws `invalid_idempotency_key` unless it is 1 to 255 printable
 * ASCII characters.
 */
export function readIdempotencyKey(request: Request): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || !IDEMPOTENCY_KEY.test(key)) {
    throw new OrderPlatformError(
      'invalid_idempotency_key',
      'An Idempotency-Key has 1 to 255 printable ASCII characters.',
    );
  }
  return key;
}

/** The same where there has to be one. Throws `idempotency_key_required`. */
export function requireIdempotencyKey(request: Request): string {
  const key = readIdempotencyKey(request);
  if (key !== undefined) return key;
  throw new OrderPlatformError(
    'idempotency_key_required',
    'Send an Idempotency-Key, for example a new UUID.',
  );
}

/** The fingerprint of a validated body: the same for every way to write the same request. */
export const requestHashOf = (body: unknown): string => hashOf(body);

const hashOf = (body: unknown): string =>
  createHash('sha256').update(JSON.stringify(body)).digest('base64url');

/** Marks an answer as that of a request that had been done before. */
export const markReplayed = (response: Response): void => {
  response.setHeader('Idempotent-Replayed', 'true');
};

import express, { type Request, type RequestHandler, type Response, type Router } from 'express';
import type { z } from 'zod';
import { type ErrorCode, OrderPlatformError } from '../domain/errors.ts';
import { fieldErrors } from '../domain/fields.ts';
import { type Role, ROLES } from '../domain/roles.ts';
import type { Callers } from './callers.ts';
import type { Caller } from './tokens.ts';

type Shape = z.ZodObject | undefined;
type Parsed<T> = T extends z.ZodType ? z.output<T> : undefined;

/** What a handler gets: everything validated, and the caller known where the endpoint wants one. */
export interface Call<P extends Shape, Q extends Shape, B extends z.ZodType | undefined, A extends Access> {
  params: Parsed<P>;
  query: Parsed<Q>;
  body: Parsed<B>;
  caller: A extends 'public' ? undefined : CallerOf<A>;
  request: Request;
  response: Response;
}

/** `nobody` is whoever comes without a login. */
type Access = 'public' | readonly (Role | 'nobody')[];
type CallerOf<A> = A extends readonly (infer Who)[]
  ? 'nobody' extends Who
    ? Caller | undefined
    : Caller
  : Caller;

export const EVERYBODY = ROLES;
export const STAFF = ['staff', 'admin'] as const;
export const ADMIN = ['admin'] as const;

export interface Answer {
  description: string;
  body?: z.ZodType;
  contentType?: string | readonly string[];
  headers?: Record<string, string>;
}

/** One endpoint: what it takes, who may call it, what it answers, and what it does. Routing, validation and the
 * OpenAPI description are all made from this. */
export interface Endpoint<
  P extends Shape = Shape,
  Q extends Shape = Shape,
  B extends z.ZodType | undefined = z.ZodType | undefined,
  A extends Access = Access,
> {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** As Express writes it: `/v1/orders/:id`. */
  path: string;
  tag: string;
  summary: string;
  access: A;
  params?: P;
  query?: Q;
  body?: B;
  bodyOptional?: boolean;
  /** The handler gets the body as it came over the wire, in `request.body`: a Buffer. */
  raw?: true;
  /** The handler reads the body itself, as it comes, from `request`; it has one of these media types. */
  stream?: readonly string[];
  /** Not counted by the rate limit: probes come from the platform, whatever else its address does. */
  unlimited?: true;
  headers?: Record<string, { description: string; required?: boolean }>;
  answers: Record<number, Answer>;
  problems?: readonly ErrorCode[];
  handle(call: Call<P, Q, B, A>): Promise<void>;
}

/** Keeps the types of an endpoint's schemas for its handler. */
export const endpoint = <
  P extends Shape = undefined,
  Q extends Shape = undefined,
  B extends z.ZodType | undefined = undefined,
  const A extends Access = Access,
>(
  definition: Endpoint<P, Q, B, A>,
): Endpoint => definition;

const parseJson = express.json({ limit: '256kb', strict: false });
const parseRaw = express.raw({ limit: '256kb', type: () => true });
const readRaw: RequestHandler = (request, response, next) => {
  parseRaw(request, response, (error?: unknown) => {
    if (!Buffer.isBuffer(request.body)) request.body = Buffer.alloc(0);
    next(error);
  });
};

/** Adds an endpoint to the router: identify, limit, authorise, read, validate, handle. */
export function mount(router: Router, callers: Callers, limit: RequestHandler, definition: Endpoint): void {
  const isPublic = definition.access === 'public';
  // Who reads what is public is counted as a caller, and no bad token is in the way. Who logs in is counted by address,
  // however many accounts it has, and probes are not counted at all.
  const isIdentified = !isPublic || (definition.method === 'get' && !definition.unlimited);
  const identify: RequestHandler = async (request, response, next) => {
    if (!isIdentified) return next();
    const token = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (token) {
      await callers.verify(token).then(
        (caller) => (response.locals.caller = caller),
        (error: unknown) => {
          if (!isPublic) response.locals.badToken = error;
        },
      );
    }
    return next();
  };
  const authorise: RequestHandler = (request, response, next) => {
    if (response.locals.badToken) throw response.locals.badToken;
    if (definition.access !== 'public') {
      const caller = response.locals.caller as Caller | undefined;
      if (!caller) {
        const isAnonymous = request.headers.authorization === undefined;
        if (isAnonymous && definition.access.includes('nobody')) return next();
        throw new OrderPlatformError('unauthenticated', 'This needs "Authorization: Bearer <token>".');
      }
      if (!definition.access.includes(caller.role)) {
        throw new OrderPlatformError('forbidden', `The role ${caller.role} may not do this.`);
      }
    }
    next();
  };
  const read = definition.raw
    ? [readRaw]
    : definition.body
      ? [requireJson, parseJson]
      : definition.stream
        ? [requireType(definition.stream)]
        : [];
  const query = definition.query?.strict();
  const handle: RequestHandler = async (request, response) => {
    await definition.handle({
      params: definition.params && parseParams(definition.params, request.params),
      query: query && parseQuery(query, request.query),
      body: definition.body && parseBody(definition, request.body),
      caller: response.locals.caller as Caller,
      request,
      response,
    });
  };
  const limited = definition.unlimited ? [] : [limit];
  router[definition.method](definition.path, identify, ...limited, authorise, ...read, handle);
}

const requireJson: RequestHandler = (request, _response, next) => {
  const hasBody =
    request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length']) > 0;
  if (hasBody && !request.is('application/json')) {
    throw new OrderPlatformError('unsupported_media_type', 'Send the body as application/json.');
  }
  next();
};

const requireType =
  (types: readonly string[]): RequestHandler =>
  (request, _response, next) => {
    const { 'content-type': type = '', 'content-encoding': encoding = 'identity' } = request.headers;
    const [name = '', ...parameters] = type.split(';').map((part) => part.trim().toLowerCase());
    const charset = parameters.find((parameter) => parameter.startsWith('charset=')) ?? 'charset=utf-8';
    const readable = /^charset="?utf-?8"?$/.test(charset) && encoding === 'identity';
    if (!types.includes(name) || !readable) {
      throw new OrderPlatformError(
        'unsupported_media_type',
        `Send the body as ${types.join(' or ')}, in UTF-8, not compressed.`,
      );
    }
    next();
  };

/** A malformed id names nothing that exists. */
function parseParams(schema: z.ZodObject, params: unknown): Record<string, unknown> {
  const result = schema.safeParse(params);
  if (!result.success) throw new OrderPlatformError('not_found', 'There is no such thing.');
  return result.data;
}

function parseQuery(schema: z.ZodObject, query: unknown): Record<string, unknown> {
  const result = schema.safeParse(query);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const name = issue.path.join('.') || (issue.code === 'unrecognized_keys' ? issue.keys.join(', ') : '');
  throw new OrderPlatformError(
    'invalid_query',
    `The query parameter ${name} is not valid: ${issue.message}.`,
  );
}

function parseBody(definition: Endpoint, body: unknown): unknown {
  const given = body === undefined && definition.bodyOptional ? {} : body;
  const result = definition.body!.safeParse(given);
  if (result.success) return result.data;
  const errors = fieldErrors(result.error);
  const [first] = errors;
  throw new OrderPlatformError(
    'validation_failed',
    errors.length === 1
      ? `${first!.pointer || 'The body'}: ${first!.detail}`
      : `${errors.length} fields are not valid.`,
    { errors },
  );
}

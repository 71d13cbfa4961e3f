import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import type { Logger } from 'pino';
import { isDatabaseUnavailable, isUndoneForOthers } from '../db/connect.ts';
import { type ErrorCode, ERRORS, OrderPlatformError } from '../domain/errors.ts';
import { isTemporalUnavailable } from '../client/calls.ts';

const RETRY_AFTER_SECONDS = 2;

/** Answers with `application/problem+json` (RFC 9457) for this error. */
function sendProblem(request: Request, response: Response, error: OrderPlatformError): void {
  const { status } = ERRORS[error.code];
  if ((status === 503 || status === 429) && !response.hasHeader('Retry-After')) {
    response.setHeader('Retry-After', String(RETRY_AFTER_SECONDS));
  }
  if (status === 401) response.setHeader('WWW-Authenticate', 'Bearer');
  const requestId = response.locals.requestId as string;
  response
    .status(status)
    .type('application/problem+json')
    .send(problemOf(error, request.originalUrl.split('?')[0]!, requestId));
}

/** The body of the answer. */
export function problemOf(error: OrderPlatformError, instance: string, requestId: string): string {
  const { status, title } = ERRORS[error.code];
  return JSON.stringify({
    ...error.extra,
    type: `/docs#problem-${error.code}`,
    title,
    status,
    detail: error.message,
    instance,
    code: error.code,
    requestId,
    ...(error.errors && { errors: error.errors }),
  });
}

/** The one place where errors become answers. What is not known is logged and told as `internal_error`. */
export const problemHandler =
  (logger: Logger): ErrorRequestHandler =>
  (thrown, request, response, next) => {
    const error = toPlatformError(thrown);
    if (ERRORS[error.code].status >= 500) {
      logger.error({ err: thrown as unknown, requestId: response.locals.requestId as string }, error.message);
    }
    if (response.headersSent) next(thrown);
    else sendProblem(request, response, error);
  };

/** Answers OPTIONS with `Allow`, for a path that has methods. */
export const answerOptions =
  (methodsOf: (path: string) => string[]): RequestHandler =>
  (request, response, next) => {
    const methods = methodsOf(request.path);
    if (methods.length === 0) next();
    else response.status(204).setHeader('Allow', allowOf(methods)).end();
  };

const allowOf = (methods: string[]): string =>
  [...new Set(methods.flatMap((method) => (method === 'get' ? ['GET', 'HEAD'] : method.toUpperCase())))].join(
    ', ',
  );

/** Answers 405 with `Allow` for a path that has methods, but not this one. */
export const answerOtherMethods =
  (methodsOf: (path: string) => string[]): RequestHandler =>
  (request, response, next) => {
    const methods = methodsOf(request.path);
    const method = request.method === 'HEAD' ? 'get' : request.method.toLowerCase();
    if (methods.length === 0 || methods.includes(method)) return next();
    const allowed = allowOf(methods);
    response.setHeader('Allow', allowed);
    const detail = `${request.path} takes ${allowed}, not ${request.method}.`;
    sendProblem(request, response, new OrderPlatformError('method_not_allowed', detail));
  };

/** Answers 404. */
export const noSuchRoute: RequestHandler = (request, response) =>
  sendProblem(request, response, new OrderPlatformError('not_found', `There is nothing at ${request.path}.`));

const BODY_PARSER_CODES: Record<string, [ErrorCode, string]> = {
  'entity.parse.failed': ['invalid_json', 'The body cannot be parsed as JSON.'],
  'entity.too.large': ['payload_too_large', 'The body is larger than 256 kB.'],
  'encoding.unsupported': ['unsupported_media_type', 'This Content-Encoding is not supported.'],
  'charset.unsupported': ['unsupported_media_type', 'The body must be UTF-8.'],
  'request.aborted': ['invalid_request', 'The request ended before its body did.'],
  'request.size.invalid': ['invalid_request', 'The body is not as long as Content-Length says.'],
};

function toPlatformError(thrown: unknown): OrderPlatformError {
  if (thrown instanceof OrderPlatformError) return thrown;
  const { type, status } = thrown as { type?: string; status?: number };
  const known = type === undefined ? undefined : BODY_PARSER_CODES[type];
  if (known) return new OrderPlatformError(...known);
  if (thrown instanceof URIError) return new OrderPlatformError('not_found', 'There is no such thing.');
  if (isDatabaseUnavailable(thrown)) {
    return new OrderPlatformError('unavailable', 'The database is not available. Please try again.');
  }
  if (isUndoneForOthers(thrown)) {
    return new OrderPlatformError('unavailable', 'Others were changing the same. Please try again.');
  }
  if (isTemporalUnavailable(thrown)) {
    return new OrderPlatformError('unavailable', 'Temporal is not available. Please try again.');
  }
  if (status !== undefined && status >= 400 && status < 500) {
    return new OrderPlatformError('invalid_request', 'The request cannot be read.');
  }
  return new OrderPlatformError(
    'internal_error',
    'Something went wrong. The requestId leads to it in our log.',
  );
}

/**
 * The stable codes of everything that can go wrong, with the HTTP status they answer with. The same word is the
 * `code` of a problem body and the `type` of a Temporal ApplicationFailure.
 */
export const ERRORS = {
  invalid_request: { status: 400, title: 'The request cannot be read' },
  invalid_json: { status: 400, title: 'The body is not JSON' },
  invalid_header: { status: 400, title: 'A header is not valid' },
  invalid_query: { status: 400, title: 'The query is not valid' },
  invalid_cursor: { status: 400, title: 'The cursor is not valid' },
  idempotency_key_required: { status: 400, title: 'An Idempotency-Key header is required' },
  invalid_idempotency_key: { status: 400, title: 'The Idempotency-Key is not valid' },
  invalid_signature: { status: 401, title: 'The webhook is not signed as it should be' },
  unauthenticated: { status: 401, title: 'A valid access token is required' },
  invalid_credentials: { status: 401, title: 'The email or the password is wrong' },
  forbidden: { status: 403, title: 'You may not do this' },
  not_found: { status: 404, title: 'There is no such thing' },
  method_not_allowed: { status: 405, title: 'This method is not allowed here' },
  request_timeout: { status: 408, title: 'The request did not come in time' },
  email_taken: { status: 409, title: 'This email has an account already' },
  already_exists: { status: 409, title: 'It exists already' },
  invalid_transition: { status: 409, title: 'The order cannot do this now' },
  already_shipped: { status: 409, title: 'Everything was shipped already' },
  not_enough_units: { status: 409, title: 'The order has not so many units left' },
  payment_failed: { status: 409, title: 'The payment failed' },
  refund_exceeds_captured: { status: 409, title: 'More than was paid cannot be refunded' },
  cart_locked: { status: 409, title: 'The cart is being ordered' },
  cart_empty: { status: 409, title: 'There is nothing in the cart' },
  price_changed: { status: 409, title: 'The price has changed' },
  below_reserved: { status: 409, title: 'More is reserved than that' },
  insufficient_stock: { status: 409, title: 'There is not enough stock' },
  stock_reserved: { status: 409, title: 'Stock of this product is reserved' },
  already_sent: { status: 409, title: 'It was sent already' },
  too_many_endpoints: { status: 409, title: 'There are too many webhook endpoints' },
  endpoint_disabled: { status: 409, title: 'The webhook endpoint is disabled' },
  version_conflict: { status: 412, title: 'It has changed since you read it' },
  payload_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'This media type is not taken here' },
  validation_failed: { status: 422, title: 'The body is not valid' },
  idempotency_key_reused: { status: 422, title: 'The Idempotency-Key was used for another request' },
  rate_limited: { status: 429, title: 'Too many requests' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  internal_error: { status: 500, title: 'Something went wrong on our side' },
  unavailable: { status: 503, title: 'A needed part is not available' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ErrorCode = keyof typeof ERRORS;

export const isErrorCode = (code: unknown): code is ErrorCode =>
  typeof code === 'string' && Object.hasOwn(ERRORS, code);

/** One thing wrong with a request body; `pointer` is an RFC 6901 JSON Pointer into it. */
export interface FieldError {
  pointer: string;
  detail: string;
}

/** A failure that has a stable code and can be told to the caller as it is. */
export class OrderPlatformError extends Error {
  readonly code: ErrorCode;
  readonly errors: FieldError[] | undefined;
  readonly extra: Record<string, unknown>;

  constructor(
    code: ErrorCode,
    detail: string,
    options: { errors?: FieldError[]; extra?: Record<string, unknown> } = {},
  ) {
    super(detail);
    this.name = 'OrderPlatformError';
    this.code = code;
    this.errors = options.errors;
    this.extra = options.extra ?? {};
  }
}

/** A body of which one field is not valid: the one that `pointer` (RFC 6901) leads to. */
export const invalidField = (pointer: string, detail: string): OrderPlatformError =>
  new OrderPlatformError('validation_failed', `${pointer}: ${detail}`, { errors: [{ pointer, detail }] });

/**
 * A payment company, in the shape of Stripe's PaymentIntents: an authorization puts money on hold, captures take parts
 * of it, a void gives the rest free, refunds give back what was captured. Amounts are integers in minor units of an
 * ISO 4217 currency.
 *
 * Each call carries the `idempotencyKey` of its one movement of money (the movement's id, a UUID): the same key never
 * moves money twice, however often and from wherever it is sent. Every call throws a PaymentRefused when the company
 * says no for good, and anything else when it is to be tried again with the same key (no answer, an answer of 5xx, a key
 * in use, an open circuit).
 */
export interface PaymentProvider {
  /** As it stands in payment rows and in the path of its webhook: `mock`, `stripe`. */
  readonly name: string;
  /** Whether others may take payments through the same account, so that an unknown one may be theirs. */
  readonly shared: boolean;
  authorize(request: AuthorizeRequest, signal: AbortSignal): Promise<Authorization>;
  capture(request: CaptureRequest, signal: AbortSignal): Promise<void>;
  /** Gives free what is authorized and not captured, or ends an authorization that is not decided yet. */
  void(request: MovementRequest, signal: AbortSignal): Promise<void>;
  refund(request: MovementRequest & { amount: number; currency: string }, signal: AbortSignal): Promise<void>;
  /** The authorizations the company has made since `since` and still holds or has not decided, oldest first. */
  listOpenAuthorizations(
    since: Date,
    signal: AbortSignal,
  ): Promise<{ reference: string; paymentId: string | undefined }[]>;
  /**
   * What a webhook says, or undefined for one that is genuine and says nothing of interest. Throws a WebhookRefused
   * where its signature, its time or its body is not right. `body` is what came over the wire, byte for byte.
   */
  readWebhook(headers: WebhookHeaders, body: Buffer): Promise<PaymentNotice | undefined>;
}

export interface MovementRequest {
  idempotencyKey: string;
  /** The company's name for the authorization that is captured, voided or refunded. */
  reference: string;
}

export interface AuthorizeRequest {
  idempotencyKey: string;
  /** The id of our payment row; webhooks name it again. The same as the key. */
  paymentId: string;
  orderId: string;
  orderNumber: string;
  amount: number;
  currency: string;
  /** What the shop's page got from the company for the customer's card. */
  token: string;
  /** The reference of an earlier authorization of this order that has expired, of which this is the repetition. */
  renews?: string | undefined;
}

export interface CaptureRequest extends MovementRequest {
  amount: number;
  currency: string;
  /** Nothing follows: the company may give the rest free. */
  final: boolean;
}

/**
 * The company's answer to an authorization. `processing`: the customer or a bank has to act first, a webhook will say.
 * `multicapture`: whether it may be captured in several parts.
 */
export type Authorization =
  | { status: 'authorized'; reference: string; multicapture: boolean }
  | { status: 'processing'; reference: string; multicapture: boolean }
  | { status: 'declined'; reference?: string; detail: string };

/** What a company says of a payment by webhook; `paymentId` is ours, `reference` the company's. */
export interface PaymentNotice {
  paymentId: string;
  reference: string;
  status: 'authorized' | 'failed';
  multicapture: boolean;
  /** Why it failed, in words a customer may read. */
  detail?: string;
}

export type WebhookHeaders = Record<string, string | string[] | undefined>;

/** The company said no, and will say it again. */
export class PaymentRefused extends Error {
  readonly code: 'authorization_expired' | 'not_possible';

  constructor(code: PaymentRefused['code'], message: string) {
    super(message);
    this.name = 'PaymentRefused';
    this.code = code;
  }
}

/** The company is at this very movement already, asked with the same key: ask again a little later. */
export class PaymentInProgress extends Error {}

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Stripe } from 'stripe';

/** What goes wrong with a request: no answer after its effect, a cut connection, a status of its own. */
type Fault = 'silent_after_effect' | 'cut_after_effect' | 429 | 500 | 503;

interface Answer {
  status: number;
  body: object;
}

/** A refusal, as the body of https://docs.stripe.com/api/errors. */
class Refusal extends Error {
  readonly answer: Answer;
  constructor(status: number, error: Partial<Stripe.StripeRawError> & { type: string }) {
    super(error.message ?? error.type);
    this.answer = { status, body: { error } };
  }
}

const invalid = (message: string, more: Partial<Stripe.StripeRawError> = {}) =>
  new Refusal(400, { type: 'invalid_request_error', message, ...more });

/** Test cards of https://docs.stripe.com/testing and https://docs.stripe.com/payments/multicapture. */
const DECLINED: Record<string, [code: string, message: string]> = {
  pm_card_visa_chargeDeclined: ['generic_decline', 'Your card was declined.'],
  pm_card_visa_chargeDeclinedInsufficientFunds: ['insufficient_funds', 'Your card has insufficient funds.'],
};
const SINGLE_CAPTURE = 'pm_card_credit_disableEnterpriseCardFeatures';
const NEEDS_ACTION = 'pm_card_authenticationRequired';
const TEST_CARDS = new Set(['pm_card_visa', SINGLE_CAPTURE, NEEDS_ACTION, ...Object.keys(DECLINED)]);

const WEEK_SECONDS = 7 * 24 * 60 * 60;
const now = () => Math.floor(Date.now() / 1000);

/**
 * Stripe on this machine, as far as payments by card go: its objects have the types of stripe-node, which are made from
 * Stripe's OpenAPI, and POSTs keep the rules of https://docs.stripe.com/api/idempotent_requests.
 */
export class StripeStandIn {
  /** Whether the account may use multicapture. */
  multicapture = true;
  /** Every request, in the order they came. */
  readonly requests: { path: string; key: string | undefined; params: Record<string, string> }[] = [];
  readonly refunds: Stripe.Refund[] = [];
  private readonly intents = new Map<string, Stripe.PaymentIntent>();
  private readonly charges = new Map<string, Stripe.Charge>();
  private readonly cards = new Map<string, Stripe.PaymentMethod>();
  private readonly answers = new Map<string, { asked: string; answer?: Answer }>();
  private readonly faults: { path: string; fault: Fault }[] = [];
  private held: { path: string; until: Promise<void> } | undefined;
  private count = 0;
  private readonly server = createServer((request, response) => void this.serve(request, response));

  static async start(): Promise<StripeStandIn> {
    const standIn = new StripeStandIn();
    standIn.server.listen(0, '127.0.0.1');
    await once(standIn.server, 'listening');
    return standIn;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  /** Lets the next request to a path that ends so go wrong, `times` in a row. */
  fail(path: string, fault: Fault, times = 1): void {
    for (let time = 0; time < times; time += 1) this.faults.push({ path, fault });
  }

  /** Holds requests to a path that ends so before they take effect, until the returned function is called. */
  hold(path: string): () => void {
    let release = () => {};
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.held = { path, until };
    return () => {
      this.held = undefined;
      release();
    };
  }

  intent(id: string): Stripe.PaymentIntent {
    const intent = this.intents.get(id);
    if (!intent)
      throw new Refusal(404, { type: 'invalid_request_error', code: 'resource_missing', param: 'intent' });
    return intent;
  }

  /** The time to capture runs out. */
  expire(id: string): void {
    const intent = this.intent(id);
    const charge = this.chargeOf(intent);
    charge.payment_method_details!.card!.capture_before = now() - 1;
    intent.amount_capturable = 0;
    if (intent.amount_received > 0) intent.status = 'succeeded';
    else Object.assign(intent, { status: 'canceled', canceled_at: now(), cancellation_reason: 'automatic' });
  }

  /** The customer has passed 3D Secure, or not. */
  act(id: string, passed: boolean): void {
    const intent = this.intent(id);
    if (passed) this.authorize(intent);
    else {
      intent.status = 'requires_payment_method';
      intent.last_payment_error = {
        type: 'card_error',
        code: 'payment_intent_authentication_failure',
        message: 'We are unable to authenticate your payment method.',
      };
    }
  }

  /** The body of the webhook that tells an event of an intent. */
  event(type: string, id: string): string {
    return JSON.stringify({
      id: this.id('evt'),
      object: 'event',
      api_version: '2026-10-28.endive',
      created: now(),
      data: { object: this.intent(id) },
      livemode: false,
      pending_webhooks: 1,
      request: { id: null, idempotency_key: null },
      type,
    });
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname: path, searchParams } = new URL(request.url!, this.url);
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const params = Object.fromEntries([...searchParams, ...new URLSearchParams(text)]);
    const key = request.headers['idempotency-key']?.toString();
    this.requests.push({ path, key, params });

    const index = this.faults.findIndex((fault) => path.endsWith(fault.path));
    const fault = index < 0 ? undefined : this.faults.splice(index, 1)[0]!.fault;
    const answer =
      typeof fault === 'number'
        ? { status: fault, body: { error: { type: 'api_error', message: 'The key sk_live_1 leaked.' } } }
        : await this.answer(request.method!, path, params, key);
    if (fault === 'cut_after_effect') return void request.socket.destroy();
    if (fault === 'silent_after_effect') return;
    response.writeHead(answer.status, { 'content-type': 'application/json', 'request-id': this.id('req') });
    response.end(JSON.stringify(answer.body));
  }

  private async answer(
    method: string,
    path: string,
    params: Record<string, string>,
    key: string | undefined,
  ): Promise<Answer> {
    if (method !== 'POST' || key === undefined) return this.run(method, path, params);
    const asked = JSON.stringify([path, params]);
    const known = this.answers.get(key);
    if (known && known.asked !== asked) {
      const message = `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`;
      return { status: 400, body: { error: { type: 'idempotency_error', message } } };
    }
    if (known && !known.answer) {
      const error = { type: 'idempotency_error', code: 'idempotency_key_in_use', message: 'In use.' };
      return { status: 409, body: { error } };
    }
    if (known?.answer) return known.answer;
    const entry: { asked: string; answer?: Answer } = { asked };
    this.answers.set(key, entry);
    if (this.held && path.endsWith(this.held.path)) await this.held.until;
    entry.answer = this.run(method, path, params);
    return entry.answer;
  }

  private run(method: string, path: string, params: Record<string, string>): Answer {
    try {
      const [, , resource, id = '', action = ''] = path.split('/');
      const body = this.route(
        `${method} ${[resource, id && ':id', action].filter(Boolean).join('/')}`,
        id,
        params,
      );
      return { status: 200, body: structuredClone(body) };
    } catch (error) {
      if (error instanceof Refusal) return structuredClone(error.answer);
      throw error;
    }
  }

  private route(route: string, id: string, params: Record<string, string>): object {
    switch (route) {
      case 'POST payment_intents':
        return this.expand(this.create(params), params);
      case 'GET payment_intents':
        return this.list(params);
      case 'GET payment_intents/:id':
        return this.expand(this.intent(id), params);
      case 'POST payment_intents/:id/capture':
        return this.expand(this.capture(this.intent(id), params), params);
      case 'POST payment_intents/:id/cancel':
        return this.cancel(this.intent(id));
      case 'POST refunds':
        return this.refund(this.intent(params.payment_intent!), Number(params.amount));
      case 'POST customers':
        return this.customer(params);
      case 'POST payment_methods/:id/attach':
        return Object.assign(this.cards.get(id)!, { customer: params.customer });
      case 'GET charges/:id':
        return this.charges.get(id)!;
      default:
        throw new Refusal(404, {
          type: 'invalid_request_error',
          message: `Unrecognized request URL (${route}).`,
        });
    }
  }

  private create(params: Record<string, string>): Stripe.PaymentIntent {
    if (params['payment_method_types[0]']) {
      throw invalid('Not in this version.', { code: 'payment_method_types_no_longer_supported' });
    }
    const token = params.payment_method!;
    const intent = this.newIntent(params, this.cardFor(token, params.customer));
    this.intents.set(intent.id, intent);
    const declined = DECLINED[token];
    if (declined) {
      const [decline_code, message] = declined;
      const error = { type: 'card_error', code: 'card_declined', decline_code, message } as const;
      intent.status = 'requires_payment_method';
      intent.last_payment_error = error;
      throw new Refusal(402, { ...error, payment_intent: structuredClone(intent) });
    }
    if (token === NEEDS_ACTION) intent.status = 'requires_action';
    else this.authorize(intent);
    return intent;
  }

  /** A test card becomes a card of its own; one that was used can be used again by the customer it is attached to. */
  private cardFor(token: string, customer: string | undefined): Stripe.PaymentMethod {
    const known = this.cards.get(token);
    if (known) {
      if (known.customer !== null && known.customer === customer) return known;
      throw invalid('The provided PaymentMethod was previously used. It may not be used again.', {
        param: 'payment_method',
      });
    }
    if (!TEST_CARDS.has(token)) {
      throw invalid(`No such PaymentMethod: '${token}'`, {
        code: 'resource_missing',
        param: 'payment_method',
      });
    }
    const card = { ...newCard(this.id('pm')), metadata: { token } };
    this.cards.set(card.id, card);
    return card;
  }

  private authorize(intent: Stripe.PaymentIntent): void {
    const card = this.cards.get(intent.payment_method as string)!;
    const available = this.multicapture && card.metadata?.token !== SINGLE_CAPTURE;
    const charge = newCharge(this.id('ch'), intent, available ? 'available' : 'unavailable');
    this.charges.set(charge.id, charge);
    intent.latest_charge = charge.id;
    intent.status = 'requires_capture';
    intent.amount_capturable = intent.amount;
  }

  private capture(intent: Stripe.PaymentIntent, params: Record<string, string>): Stripe.PaymentIntent {
    if (intent.status !== 'requires_capture') {
      throw invalid(
        `This PaymentIntent could not be captured because it has a status of ${intent.status}. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.`,
        { code: 'payment_intent_unexpected_state', payment_intent: structuredClone(intent) },
      );
    }
    const charge = this.chargeOf(intent);
    const available = charge.payment_method_details?.card?.multicapture?.status === 'available';
    if (params.final_capture !== undefined && !available) {
      throw invalid('Multicapture is not available for this PaymentIntent.', { param: 'final_capture' });
    }
    const amount = Number(params.amount_to_capture ?? intent.amount_capturable);
    if (amount > intent.amount_capturable) {
      throw invalid('The amount is greater than what can be captured.', {
        code: 'amount_too_large',
        param: 'amount_to_capture',
      });
    }
    const final = params.final_capture !== 'false';
    intent.amount_received += amount;
    charge.amount_captured += amount;
    intent.amount_capturable = final ? 0 : intent.amount_capturable - amount;
    charge.captured = final;
    if (final) intent.status = 'succeeded';
    return intent;
  }

  private cancel(intent: Stripe.PaymentIntent): Stripe.PaymentIntent {
    if (intent.status === 'canceled' || intent.status === 'succeeded' || intent.amount_received > 0) {
      throw invalid(`You cannot cancel this PaymentIntent because it has a status of ${intent.status}.`, {
        code: 'payment_intent_unexpected_state',
        payment_intent: structuredClone(intent),
      });
    }
    return Object.assign(intent, { status: 'canceled', canceled_at: now(), amount_capturable: 0 });
  }

  private refund(intent: Stripe.PaymentIntent, amount: number): Stripe.Refund {
    const charge = this.chargeOf(intent);
    const left = charge.amount_captured - charge.amount_refunded;
    if (left === 0) throw invalid('It was refunded.', { code: 'charge_already_refunded' });
    if (amount > left) throw invalid(`Refund amount is greater than unrefunded amount.`, { param: 'amount' });
    charge.amount_refunded += amount;
    const refund = newRefund(this.id('re'), charge, amount);
    this.refunds.push(refund);
    return refund;
  }

  private customer(params: Record<string, string>): Stripe.Customer {
    return {
      id: this.id('cus'),
      object: 'customer',
      balance: 0,
      created: now(),
      default_source: null,
      description: null,
      email: null,
      invoice_settings: {
        custom_fields: null,
        default_payment_method: null,
        footer: null,
        rendering_options: null,
      },
      livemode: false,
      metadata: metadataOf(params),
      shipping: null,
    };
  }

  private list(params: Record<string, string>): Omit<Stripe.ApiList<Stripe.PaymentIntent>, 'url'> {
    const newestFirst = [...this.intents.values()].toReversed();
    const data = newestFirst.filter(({ created }) => created >= Number(params['created[gte]'] ?? 0));
    return { object: 'list', data, has_more: false };
  }

  private expand(intent: Stripe.PaymentIntent, params: Record<string, string>): Stripe.PaymentIntent {
    const wanted = Object.entries(params).flatMap(([name, value]) =>
      name.startsWith('expand') ? [value] : [],
    );
    return {
      ...intent,
      ...(wanted.includes('latest_charge') &&
        intent.latest_charge && { latest_charge: this.chargeOf(intent) }),
      ...(wanted.includes('payment_method') && {
        payment_method: this.cards.get(intent.payment_method as string)!,
      }),
    };
  }

  private newIntent(params: Record<string, string>, card: Stripe.PaymentMethod): Stripe.PaymentIntent {
    const id = this.id('pi');
    return {
      id,
      object: 'payment_intent',
      allowed_payment_method_types: ['card'],
      amount: Number(params.amount),
      amount_capturable: 0,
      amount_received: 0,
      application: null,
      application_fee_amount: null,
      automatic_payment_methods: null,
      canceled_at: null,
      cancellation_reason: null,
      capture_method: params.capture_method ?? 'automatic_async',
      client_secret: `${id}_secret_1`,
      confirmation_method: 'automatic',
      created: now(),
      currency: params.currency!,
      customer: params.customer ?? null,
      customer_account: null,
      description: null,
      excluded_payment_method_types: null,
      last_payment_error: null,
      latest_charge: null,
      livemode: false,
      managed_payments: null,
      metadata: metadataOf(params),
      next_action: null,
      on_behalf_of: null,
      payment_method: card.id,
      payment_method_configuration_details: null,
      payment_method_options: null,
      payment_method_types: ['card'],
      payment_record: null,
      processing: null,
      receipt_email: null,
      review: null,
      setup_future_usage: params.setup_future_usage ?? null,
      shipping: null,
      source: null,
      statement_descriptor: null,
      statement_descriptor_suffix: null,
      status: 'requires_confirmation',
      transfer_group: null,
    };
  }

  private chargeOf(intent: Stripe.PaymentIntent): Stripe.Charge {
    const charge = this.charges.get(intent.latest_charge as string);
    if (!charge) throw invalid('This PaymentIntent has no successful charge.');
    return charge;
  }

  private id(prefix: string): string {
    this.count += 1;
    return `${prefix}_${this.count}`;
  }
}

const NOBODY = { address: null, email: null, name: null, phone: null, tax_id: null };

const metadataOf = (params: Record<string, string>): Stripe.Metadata =>
  Object.fromEntries(
    Object.entries(params).flatMap(([name, value]) => {
      const key = name.match(/^metadata\[(.*)\]$/)?.[1];
      return key === undefined ? [] : [[key, value]];
    }),
  );

const newCard = (id: string): Stripe.PaymentMethod => ({
  id,
  object: 'payment_method',
  billing_details: NOBODY,
  created: now(),
  customer: null,
  customer_account: null,
  livemode: false,
  metadata: {},
  type: 'card',
});

const newCharge = (
  id: string,
  intent: Stripe.PaymentIntent,
  multicapture: 'available' | 'unavailable',
): Stripe.Charge => ({
  id,
  object: 'charge',
  amount: intent.amount,
  amount_captured: 0,
  amount_refunded: 0,
  application: null,
  application_fee: null,
  application_fee_amount: null,
  balance_transaction: null,
  billing_details: NOBODY,
  calculated_statement_descriptor: null,
  captured: false,
  created: now(),
  currency: intent.currency,
  customer: intent.customer,
  description: null,
  disputed: false,
  failure_balance_transaction: null,
  failure_code: null,
  failure_message: null,
  fraud_details: null,
  livemode: false,
  metadata: intent.metadata,
  on_behalf_of: null,
  outcome: null,
  paid: true,
  payment_intent: intent.id,
  payment_method: intent.payment_method as string,
  payment_method_details: {
    type: 'card',
    card: {
      amount_authorized: intent.amount,
      authorization_code: null,
      brand: 'visa',
      capture_before: now() + WEEK_SECONDS,
      checks: null,
      country: 'US',
      electronic_commerce_indicator: null,
      exp_month: 12,
      exp_year: 2040,
      funding: 'credit',
      installments: null,
      last4: '4242',
      mandate: null,
      multicapture: { status: multicapture },
      network: 'visa',
      network_transaction_id: null,
      regulated_status: null,
      three_d_secure: null,
      transaction_link_id: null,
      wallet: null,
    },
  },
  receipt_email: null,
  receipt_number: null,
  receipt_url: null,
  refunded: false,
  review: null,
  shipping: null,
  source: null,
  source_transfer: null,
  statement_descriptor: null,
  statement_descriptor_suffix: null,
  status: 'succeeded',
  transfer_data: null,
  transfer_group: null,
});

const newRefund = (id: string, charge: Stripe.Charge, amount: number): Stripe.Refund => ({
  id,
  object: 'refund',
  amount,
  balance_transaction: null,
  charge: charge.id,
  created: now(),
  currency: charge.currency,
  customer: charge.customer,
  customer_account: null,
  metadata: {},
  payment_intent: charge.payment_intent,
  payment_method: charge.payment_method,
  reason: null,
  receipt_number: null,
  source_transfer_reversal: null,
  status: 'succeeded',
  transfer_reversal: null,
});

import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  condition,
  log,
  patched,
  setCurrentDetails,
  TemporalFailure,
  upsertSearchAttributes,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { Refusal, StepResult } from '../activities/steps.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import { escapeMarkdown } from '../domain/markdown.ts';
import { type Cancellation, type OrderState, PENDING_VERSION, type PlacedOrder } from '../domain/order.ts';
import { readId, readOrderChange, readPaymentNews, readShipment, readUnits } from '../domain/requests.ts';
import { assertLegal, isFinal, type OrderCommand } from '../domain/states.ts';
import { type CancelRequest, ORDER_STATUS, type PaymentNews, type Sent } from './messages.ts';
import { patiently, quickly } from './order-activities.ts';
import { type PastResult, readResult } from './past-results.ts';
import { keepTelling } from './telling.ts';

/** What a running order knows, and the steps it can take. */
export class OrderFlow {
  state: OrderState;
  private readonly accepted: PlacedOrder;
  private readonly searchable: boolean;
  private version = -1;
  private placed = false;
  private earlyCancellation: Cancellation | null = null;
  private payBy: string | undefined;
  private cancelling = false;
  private restIsCancelled = false;
  private unsettled = false;
  private settling = false;
  private steps = 0;
  private isTooLong = false;

  constructor(accepted: PlacedOrder) {
    assertPlacedOrder(accepted);
    this.accepted = accepted;
    this.state = { orderId: accepted.orderId, status: 'pending', paymentStatus: 'none' };
    this.searchable = workflowInfo().typedSearchAttributes.get(ORDER_STATUS) !== undefined;
  }

  /** Whether the order has come to its end and nothing of it is under way. */
  hasEnded(): boolean {
    return isFinal(this.state.status) && this.steps === 0 && !this.unsettled;
  }

  /** Whether the order is to go on in another run, and nothing of it is under way in this one. */
  mayGoOnAnew(): boolean {
    return this.isTooLong && this.steps === 0 && !this.unsettled;
  }

  async place(): Promise<void> {
    const placed = await quickly.placeOrder(this.accepted, this.earlyCancellation);
    this.placed = true;
    await this.learn(placed);
  }

  /** Waits until the order is paid for; one that is not paid for in time is cancelled. */
  async payInTime(): Promise<void> {
    if (this.state.status === 'pending')
      await condition(() => this.isTooLong || this.state.status !== 'pending');
    while (this.state.status === 'awaiting_payment' && !this.isTooLong) {
      const left = Math.max(Date.parse(this.payBy ?? '') - Date.now(), 1);
      const isDone = () => this.isTooLong || this.state.status !== 'awaiting_payment';
      const paid = await condition(isDone, left, {
        summary: 'The customer has until then to pay',
      });
      if (!paid) await this.step(async () => this.learn(await quickly.expirePayment(this.state.orderId)));
    }
  }

  /** Waits until the order is shipped or ended; the stock manager is told of one that is late. */
  async shipInTime(): Promise<void> {
    const { shipBy, orderId } = this.accepted;
    const isDone = () => this.isTooLong || !['confirmed', 'partially_shipped'].includes(this.state.status);
    if (shipBy === undefined || isDone()) return;
    const left = Math.max(Date.parse(shipBy) - Date.now(), 1);
    const inTime = await condition(isDone, left, { summary: 'The promised time of shipping' });
    if (!inTime) await this.step(async () => this.learn(await quickly.reportLateOrder(orderId)));
  }

  /**
   * Throws where the state or the input of a command forbids it; repeating the step taken is no error. The state counts
   * only while nothing is under way: after a lost task it may be older than what was answered before. Then, and for a
   * command that may be a repetition, because it has an id, the step itself judges what is written of the order.
   */
  validate(command: OrderCommand, input: unknown): void {
    refusing(() => {
      if (command === 'change') readOrderChange(input);
      if (command === 'ship') readShipment(input);
      const repeats = this.mayRepeat(command, input);
      if (this.placed && this.steps === 0 && !repeats) assertLegal(command, this.state.status);
    });
  }

  /** Whether a command may be the repetition of one that brought the order where it is. */
  private mayRepeat(command: OrderCommand, input: unknown): boolean {
    const { status } = this.state;
    if (command === 'cancel') {
      const { lines, commandId } = readCancelRequest(input, '');
      return lines ? commandId !== undefined : this.restIsCancelled || status === 'cancelled';
    }
    if (command !== 'ship' && command !== 'deliver') return false;
    const isNamed = readId(input, 'shipmentId') !== undefined;
    return isNamed || (command === 'deliver' && status === 'delivered');
  }

  /** Cancels as a signal or Temporal itself asks for it: nobody hears an answer, so a refusal goes to the log. */
  async cancelIfPossible(input: unknown, by: string): Promise<void> {
    try {
      await this.cancel(input, by);
    } catch (error) {
      if (!(error instanceof TemporalFailure)) throw error;
      log.warn('A cancellation had no effect', { orderId: this.state.orderId, reason: error.message });
    }
  }

  /** Cancels what is not shipped, or single units: at once when the order is placed, else by placing it as cancelled. */
  async cancel(input: unknown, door: string): Promise<OrderState> {
    const { reason, by, expectedVersion, lines, commandId } = readCancelRequest(input, door);
    const cancellation = { reason: reason ?? null, by: by!, at: new Date().toISOString() };
    return await this.step(async () => {
      if (!this.placed) {
        const early = !lines && (expectedVersion ?? PENDING_VERSION) === PENDING_VERSION;
        if (early) this.earlyCancellation ??= cancellation;
        await condition(() => this.placed);
      }
      while (this.cancelling) await condition(() => !this.cancelling);
      if (this.state.status === 'cancelled' && !lines) return this.state;
      if (this.state.status === 'rejected') refusing(() => assertLegal('cancel', this.state.status));

      this.cancelling = true;
      try {
        const command = { ...cancellation, ...(lines && { lines, commandId: commandId ?? uuid4() }) };
        await this.learn(await quickly.cancelOrder(this.state.orderId, command, expectedVersion));
        if (!lines) this.restIsCancelled = true;
        return this.state;
      } finally {
        this.cancelling = false;
      }
    });
  }

  /** Changes the address or the note, once the order is placed. */
  async change(input: unknown): Promise<OrderState> {
    const { by, expectedVersion } = readSender(input);
    const change = refusing(() => readOrderChange(input));
    return await this.step(async () => {
      await condition(() => this.placed);
      refusing(() => assertLegal('change', this.state.status));
      await this.learn(await quickly.changeOrder(this.state.orderId, change, by!, expectedVersion));
      return this.state;
    });
  }

  /** Ships units; a carrier that takes its time is asked by a regular activity. */
  async ship(input: unknown): Promise<OrderState & { shipmentId: string }> {
    const { by, expectedVersion } = readSender(input);
    const { shipmentId = uuid4() } = refusing(() => ({ shipmentId: readId(input, 'shipmentId') }));
    const command = refusing(() => ({ ...readShipment(input), shipmentId, by: by! }));
    const { orderId } = this.state;
    return await this.step(async () => {
      await condition(() => this.placed);
      const dated = { ...command, at: new Date().toISOString() };
      let shipped = await quickly.shipOrder(orderId, dated, expectedVersion);
      if ('unbooked' in shipped) {
        const trackingNumber = await patiently.bookCarrier(orderId, dated);
        shipped = await quickly.shipOrder(orderId, dated, expectedVersion, trackingNumber);
      }
      if ('bookingStands' in shipped) void this.step(() => patiently.cancelBooking(shipmentId));
      if ('unbooked' in shipped) throw ApplicationFailure.nonRetryable('Not shipped.', 'internal_error');
      await this.learn(shipped);
      return { ...this.state, shipmentId: 'shipmentId' in shipped ? shipped.shipmentId : shipmentId };
    });
  }

  /** Records that shipments have arrived. */
  async deliver(input: unknown): Promise<OrderState> {
    const { by, expectedVersion } = readSender(input);
    const shipmentId = refusing(() => readId(input, 'shipmentId'));
    return await this.step(async () => {
      await condition(() => this.placed);
      const command = { by: by!, at: new Date().toISOString(), ...(shipmentId && { shipmentId }) };
      await this.learn(await quickly.deliverOrder(this.state.orderId, command, expectedVersion));
      return this.state;
    });
  }

  /** Takes up what a payment company told by webhook, as soon as the order is placed. */
  async hearOfPayment(input: unknown): Promise<void> {
    const { orderId } = this.state;
    let news: PaymentNews;
    try {
      news = readPaymentNews(input);
    } catch (error) {
      if (!(error instanceof OrderPlatformError)) throw error;
      log.warn('A signal "payment" says nothing of a payment', { orderId });
      return;
    }
    const { paymentId, outcome } = news;
    await this.step(async () => {
      await condition(() => this.placed);
      const noted = await quickly.notePayment(orderId, paymentId, outcome);
      if ('refused' in noted) log.warn('A payment is not known', { orderId, paymentId });
      else await this.learn(noted);
    });
  }

  /** Takes in how a step ended, and sees to what is left to do. Throws what was refused. */
  private async learn(result: StepResult | Refusal | PastResult): Promise<void> {
    if ('refused' in result && result.now) {
      this.take(result.now);
      if (result.now.unsettled) this.settle();
    }
    const { untold = [], unsettled, ...now } = readResult(result);
    this.take(now);
    if (unsettled) this.settle();
    if (untold.length > 0) await keepTelling(untold, `Message about order ${this.accepted.number}`);
  }

  /** Takes in where the order stands, unless that is older than what is known. */
  private take({ status, paymentStatus, version, reason, payBy }: Partial<StepResult>): void {
    if (status === undefined || (version !== undefined && version <= this.version)) return;
    const moved = status !== this.state.status;
    this.version = version ?? this.version;
    this.payBy = payBy ?? this.payBy;
    this.state = {
      orderId: this.state.orderId,
      status,
      paymentStatus: paymentStatus ?? this.state.paymentStatus,
      ...(reason !== undefined && { reason }),
    };
    if (moved && this.searchable) upsertSearchAttributes([{ key: ORDER_STATUS, value: status }]);
    this.tellOperators();
  }

  /** Moves the money that could not be moved at once, for as long as that takes; the order goes on meanwhile. */
  private settle(): void {
    this.unsettled = true;
    if (this.settling) return;
    this.settling = true;
    void this.step(async () => {
      try {
        while (this.unsettled) {
          this.unsettled = false;
          await this.learn(await patiently.settlePayments(this.state.orderId));
        }
      } catch (error) {
        if (!(error instanceof ActivityFailure)) throw error;
        log.error('The money of an order cannot be moved', { orderId: this.state.orderId });
      } finally {
        this.settling = false;
      }
    });
  }

  private async step<T>(run: () => Promise<T>): Promise<T> {
    this.steps += 1;
    try {
      return await CancellationScope.nonCancellable(run);
    } finally {
      this.steps -= 1;
      this.isTooLong ||= workflowInfo().continueAsNewSuggested && patched('goes-on-anew');
    }
  }

  /** Says in the Web UI where the order stands and what it waits for. */
  private tellOperators(): void {
    const { status, paymentStatus, reason } = this.state;
    const { shipBy, number } = this.accepted;
    // What a run was started with for the Web UI is not handed on to the next one.
    const isFirst = workflowInfo().continuedFromExecutionRunId === undefined;
    const waits: Partial<Record<typeof status, string>> = {
      pending: 'Waits for the payment company.',
      awaiting_payment: `Waits for the customer to pay, until ${this.payBy ?? 'then'}.`,
      confirmed: `Waits to be shipped${shipBy === undefined ? '' : `, promised by ${shipBy}`}.`,
      partially_shipped: 'Waits for the rest to be shipped.',
      shipped: 'Waits for the delivery.',
    };
    const lines = [
      ...(isFirst ? [] : [`Order ${number}, which had too many changes for one run.`]),
      `**${status.replaceAll('_', ' ')}**${reason === undefined ? '' : `: ${escapeMarkdown(reason)}`}`,
      `Payment: ${paymentStatus.replaceAll('_', ' ')}`,
      ...(waits[status] === undefined ? [] : [waits[status]]),
    ];
    setCurrentDetails(lines.join('\n\n'));
  }
}

/** Lets a refusal of the domain out of the workflow as a failure with its code. */
function refusing<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof OrderPlatformError)) throw error;
    const { code, message, extra, errors } = error;
    throw ApplicationFailure.nonRetryable(message, code, { ...extra, ...(errors && { errors }) });
  }
}

/** A cancellation as somebody typed it: what cannot be read counts as not said, but its `lines` must be right. */
function readCancelRequest(input: unknown, door: string): CancelRequest {
  const { reason } = (input ?? {}) as { reason?: unknown };
  const lines = refusing(() => readUnits(input));
  const commandId = lines && refusing(() => readId(input, 'commandId'));
  return {
    ...readSender(input, door),
    ...(typeof reason === 'string' && { reason: plainText(reason, 500) }),
    ...(lines && { lines }),
    ...(commandId !== undefined && { commandId }),
  };
}

/** Who sent a message and which version of the order it is about, as far as it says so; else `door` is who. */
function readSender(input: unknown, door = 'temporal-update'): Sent {
  const { by, expectedVersion } = (input ?? {}) as { by?: unknown; expectedVersion?: unknown };
  return {
    by: typeof by === 'string' ? plainText(by, 200) : door,
    ...(Number.isInteger(expectedVersion) && { expectedVersion: expectedVersion as number }),
  };
}

/** Text without what no database takes: control characters and halves of surrogate pairs. */
const plainText = (text: string, length: number): string =>
  text
    .slice(0, length)
    .replaceAll(/[\p{Cc}\p{Surrogate}]/gu, ' ')
    .trim();

function assertPlacedOrder(input: PlacedOrder | undefined): void {
  const valid =
    typeof input === 'object' &&
    input !== null &&
    typeof input.orderId === 'string' &&
    workflowInfo().workflowId === `order-${input.orderId}` &&
    Array.isArray(input.lines) &&
    input.lines.length > 0;
  if (!valid) {
    throw ApplicationFailure.nonRetryable(
      'The input is not an accepted order of this workflow ID. Orders are placed with POST /v1/orders.',
      'validation_failed',
    );
  }
}

import {
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  log,
  ParentClosePolicy,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  startChild,
  TemporalFailure,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type { Activities } from '../activities/index.ts';
import type { CancelResult, Told } from '../activities/orders.ts';
import { illegalStep } from '../domain/errors.ts';
import { readOrderChange } from '../domain/order-change.ts';
import { escapeMarkdown } from '../domain/markdown.ts';
import {
  type Cancellation,
  isFinal,
  judge,
  type OrderChange,
  type OrderCommand,
  type OrderState,
  type OrderStatus,
  PENDING_VERSION,
  type PlacedOrder,
} from '../domain/order.ts';
import {
  type CancelRequest,
  cancelSignal,
  cancelUpdate,
  changeShippingAddressUpdate,
  notificationWorkflowId,
  ORDER_STATUS,
  statusQuery,
} from './messages.ts';
import { notification } from './notification.ts';

const { placeOrder, cancelOrder, changeOrder } = proxyLocalActivities<Activities>({
  startToCloseTimeout: '10 seconds',
  retry: { initialInterval: '200 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
  localRetryThreshold: '5 seconds',
});

/**
 * The life of an order: it is placed, and waits for what follows until it ends. All of it runs shielded from
 * Temporal's own cancellation, which is one more way to ask for the same cancelling.
 */
export async function order(accepted: PlacedOrder): Promise<OrderState> {
  const flow = new OrderFlow(accepted);
  setHandler(statusQuery, () => flow.state);
  setHandler(cancelSignal, (input) => flow.cancelIfPossible(input, 'temporal-signal'));
  setHandler(cancelUpdate, (input) => flow.cancel(readCancelRequest(input, 'temporal-update')), {
    validator(input: unknown) {
      assertWholeOrder(input);
      flow.assertLegal('cancel');
    },
  });
  setHandler(changeShippingAddressUpdate, (input) => flow.change(input), {
    validator(input: unknown) {
      readChange(input);
      flow.assertLegal('change');
    },
  });
  CancellationScope.current().cancelRequested.catch(() =>
    flow.cancelIfPossible(undefined, 'temporal-cancel'),
  );
  if (CancellationScope.current().consideredCancelled)
    void flow.cancelIfPossible(undefined, 'temporal-cancel');

  return await CancellationScope.nonCancellable(async () => {
    await flow.place();
    await condition(() => isFinal(flow.state.status) && flow.isIdle() && allHandlersFinished());
    return flow.state;
  });
}

/** What a running order knows, and the steps it can take. */
class OrderFlow {
  state: OrderState;
  private readonly accepted: PlacedOrder;
  private readonly searchable: boolean;
  private earlyCancellation: Cancellation | null = null;
  private readonly handedOver = new Set<string>();
  private cancelling = false;
  private steps = 0;

  constructor(accepted: PlacedOrder) {
    assertPlacedOrder(accepted);
    this.accepted = accepted;
    this.state = { orderId: accepted.orderId, status: 'pending', paymentStatus: 'none' };
    this.searchable = workflowInfo().typedSearchAttributes.get(ORDER_STATUS) !== undefined;
  }

  isIdle(): boolean {
    return this.steps === 0;
  }

  async place(): Promise<void> {
    const placed = await placeOrder(this.accepted, this.earlyCancellation);
    this.moveTo(placed.status, placed.reason);
    await this.keepTelling(placed);
  }

  /** Throws where the state forbids a command; repeating the step taken is no error. */
  assertLegal(command: OrderCommand): void {
    const { status } = this.state;
    if (judge(command, status) === 'illegal') throw refusalOf(command, { outcome: 'illegal', status });
  }

  /** Cancels as a signal or Temporal itself asks for it: nobody hears an answer, so a refusal goes to the log. */
  async cancelIfPossible(input: unknown, by: string): Promise<void> {
    try {
      assertWholeOrder(input);
      await this.cancel(readCancelRequest(input, by));
    } catch (error) {
      if (!(error instanceof TemporalFailure)) throw error;
      log.warn('A cancellation had no effect', { orderId: this.state.orderId, reason: error.message });
    }
  }

  /** Cancels the order: at once when it is placed, else by placing it as cancelled. One cancelling at a time. */
  async cancel({ reason, by = 'system', expectedVersion }: CancelRequest): Promise<OrderState> {
    const cancellation = { reason: reason ?? null, by, at: new Date().toISOString() };
    return await this.step(async () => {
      if (this.state.status === 'pending') {
        if ((expectedVersion ?? PENDING_VERSION) === PENDING_VERSION) this.earlyCancellation ??= cancellation;
        await condition(() => this.state.status !== 'pending');
      }
      while (this.cancelling) await condition(() => !this.cancelling);
      this.assertLegal('cancel');
      if (this.state.status === 'cancelled') return this.state;

      this.cancelling = true;
      try {
        const cancelled = await cancelOrder(this.accepted.orderId, cancellation, expectedVersion);
        if (cancelled.outcome !== 'cancelled') throw refusalOf('cancel', cancelled);
        this.moveTo('cancelled', cancelled.reason);
        await this.keepTelling(cancelled);
        return this.state;
      } finally {
        this.cancelling = false;
      }
    });
  }

  /** Changes the address or the note, once the order is placed. */
  async change(input: unknown): Promise<OrderState> {
    const { by, expectedVersion } = readSender(input, 'temporal-update');
    const change = readChange(input);
    return await this.step(async () => {
      await condition(() => this.state.status !== 'pending');
      this.assertLegal('change');
      const changed = await changeOrder(this.accepted.orderId, change, by, expectedVersion);
      if (changed.outcome === 'illegal' || changed.outcome === 'version_conflict') {
        throw refusalOf('change', changed);
      }
      return this.state;
    });
  }

  /** A message that did not get out at the first try gets a workflow of its own, once, and the order goes on. */
  private async keepTelling({ notificationId, told }: Told): Promise<void> {
    if (told || this.handedOver.has(notificationId)) return;
    this.handedOver.add(notificationId);
    await startChild(notification, {
      args: [notificationId],
      workflowId: notificationWorkflowId(notificationId),
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `Message about order ${this.accepted.number}`,
    }).catch((error: unknown) => {
      // An earlier run of this order has handed it over already.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    });
  }

  private async step<T>(run: () => Promise<T>): Promise<T> {
    this.steps += 1;
    try {
      return await CancellationScope.nonCancellable(run);
    } finally {
      this.steps -= 1;
    }
  }

  private moveTo(status: OrderStatus, reason?: string): void {
    this.state = { ...this.state, status, ...(reason !== undefined && { reason }) };
    if (this.searchable) upsertSearchAttributes([{ key: ORDER_STATUS, value: status }]);
    setCurrentDetails(`**${status}**${reason === undefined ? '' : `: ${escapeMarkdown(reason)}`}`);
  }
}

type Refused = Extract<CancelResult, { outcome: 'illegal' | 'version_conflict' }>;

/** Why a command was refused, as a failure with its code of domain/errors. */
function refusalOf(command: OrderCommand, refused: Refused): ApplicationFailure {
  if (refused.outcome === 'illegal') {
    const currentStatus = refused.status;
    return ApplicationFailure.nonRetryable(illegalStep(command, currentStatus), 'invalid_transition', {
      currentStatus,
    });
  }
  const { version } = refused;
  return ApplicationFailure.nonRetryable(`The order is at version ${version}.`, 'version_conflict', {
    version,
  });
}

/** The change somebody typed or the API sent, without what the API adds. Throws `validation_failed`. */
function readChange(input: unknown): OrderChange {
  const change = readOrderChange(input);
  if ('problem' in change) throw ApplicationFailure.nonRetryable(change.problem, 'validation_failed');
  return change;
}

/** Single units cannot be cancelled yet; a request for some must not cancel all. */
function assertWholeOrder(input: unknown): void {
  if (typeof input === 'object' && input !== null && 'lines' in input) {
    throw ApplicationFailure.nonRetryable(
      'An order is cancelled as a whole, without "lines".',
      'validation_failed',
    );
  }
}

function readCancelRequest(input: unknown, by: string): CancelRequest {
  const { reason } = (input ?? {}) as { reason?: unknown };
  return { ...readSender(input, by), ...(typeof reason === 'string' && { reason: plainText(reason, 500) }) };
}

/** Who sent a message and which version of the order it is about, as far as it says so; else `door` is who. */
function readSender(input: unknown, door: string): { by: string; expectedVersion?: number } {
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

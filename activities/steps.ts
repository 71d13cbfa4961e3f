import { ApplicationFailure } from '@temporalio/activity';
import pTimeout from 'p-timeout';
import type { Db } from '../db/connect.ts';
import { type Decide, type StepTaken, takeStep } from '../db/order-steps.ts';
import { findOrderRecord } from '../db/orders.ts';
import { type ErrorCode, OrderPlatformError } from '../domain/errors.ts';
import type { Order } from '../domain/order.ts';
import type { PaymentStatus } from '../domain/payments.ts';
import { nextMovement } from '../domain/paying.ts';
import { type OrderRecord, toOrder } from '../domain/record.ts';
import type { OrderStatus } from '../domain/states.ts';
import { moveMoney, type PaymentDeps } from './payments.ts';

export interface StepDeps extends PaymentDeps {
  /** Tells whoever waits for an order to be settled. Must not throw. */
  announce(order: Order): void;
  /** Counts how orders fare. */
  countOutcome(status: OrderStatus): void;
  /** Sends a notification. */
  send(notificationId: string): Promise<unknown>;
}

/** What the workflow has to know after a step. It is stored in the history, so no more than that belongs here. */
export interface StepResult {
  status: OrderStatus;
  paymentStatus: PaymentStatus;
  version: number;
  reason?: string;
  /** Notifications that did not get out at the first try: somebody has to keep trying. */
  untold: string[];
  /** Whether money has still to be moved. */
  unsettled: boolean;
  /** Until when the order waits for its payment. */
  payBy?: string;
}

/** What the state or the input forbids: told, not thrown, because trying again would not help. */
export interface Refusal {
  refused: { code: ErrorCode; detail: string; extra: Record<string, unknown> };
  /** Where the order stands: the workflow may know less than is written. */
  now?: StepResult;
}

/** What moves money within a step may take so long; then a regular activity goes on with the same keys. */
const MONEY_BUDGET_MS = 300;
/** A first try to send may take so long; then the order goes on without it. */
const FIRST_TRY_MS = 3_000;

export type StepTaker = ReturnType<typeof createStepTaker>;

export function createStepTaker(deps: StepDeps) {
  const { db, announce, countOutcome, send, log } = deps;

  const observe = ({ became }: StepTaken): void => {
    if (became) countOutcome(became);
  };

  /**
   * What follows a step that is written: its money is moved within the budget, whoever waits for the order is told, and
   * so is its customer, once.
   */
  const follow = async (taken: StepTaken, budgetMs = MONEY_BUDGET_MS): Promise<StepResult> => {
    let { record } = taken;
    const notifications = new Set(taken.notificationIds);
    observe(taken);
    if (nextMovement(record)) {
      await moveMoney(deps, record, AbortSignal.timeout(budgetMs), (moved) => {
        ({ record } = moved);
        for (const id of moved.notificationIds) notifications.add(id);
        observe(moved);
      }).catch((error: unknown) =>
        log.info('Money is moved later', { orderId: record.id, reason: nameOf(error) }),
      );
    }
    if (record.status !== 'pending') announce(toOrder(record));
    return resultOf(record, await tell(notifications));
  };

  const tell = async (ids: Iterable<string>): Promise<string[]> => {
    const untold: string[] = [];
    await Promise.all(
      [...ids].map(async (id) => {
        await pTimeout(send(id), { milliseconds: FIRST_TRY_MS }).catch(() => untold.push(id));
      }),
    );
    return untold.sort();
  };

  /** A refusal of the domain as a result, with where the order stands. Throws anything else. */
  const refusal = async (orderId: string, error: unknown): Promise<Refusal> => {
    const refused = refuse(error);
    const record = await findOrderRecord(db, orderId);
    return record ? { ...refused, now: resultOf(record, []) } : refused;
  };

  return {
    follow,
    refusal,
    /** Takes a step and all that follows from it. A refusal of the domain is a result. */
    perform: (
      orderId: string,
      decide: Decide,
      expectedVersion?: number,
      commandId?: string,
    ): Promise<StepResult | Refusal> =>
      takeStep(db, orderId, decide, { expectedVersion, commandId })
        .then((taken) => follow(taken))
        .catch((error: unknown) => refusal(orderId, error)),
  };
}

/** An order as it is written, with what of it is still to be told. Throws `not_found`. */
export const readStep = (db: Db, orderId: string): Promise<StepTaken> =>
  takeStep(db, orderId, () => undefined);

function resultOf(record: OrderRecord, untold: string[]): StepResult {
  const { status, paymentStatus, version, rejection, cancellation, payBy } = record;
  const reason = rejection?.code ?? cancellation?.reason ?? undefined;
  return {
    status,
    paymentStatus,
    version,
    ...(reason !== undefined && { reason }),
    untold,
    unsettled: nextMovement(record) !== undefined,
    ...(status === 'awaiting_payment' && payBy !== null && { payBy }),
  };
}

/** The domain's refusals as results; data that Postgres will never take (SQLSTATE class 22) fails for good. */
function refuse(error: unknown): Refusal {
  if (error instanceof OrderPlatformError) {
    const { code, message: detail, extra, errors } = error;
    return { refused: { code, detail, extra: { ...extra, ...(errors && { errors }) } } };
  }
  return failForGood(error);
}

/** Throws: what Postgres will never take as a failure that is not tried again, all else as it is. */
export function failForGood(error: unknown): never {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string' && code.startsWith('22')) {
    throw ApplicationFailure.nonRetryable('The order cannot be stored.', 'validation_failed', {
      sqlState: code,
    });
  }
  throw error;
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : 'unknown');

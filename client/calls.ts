import { setTimeout as delay } from 'node:timers/promises';
import {
  type Client,
  isGrpcServiceError,
  type WorkflowHandle,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import { ApplicationFailure, type UpdateDefinition } from '@temporalio/common';
import pTimeout from 'p-timeout';
import { type FieldError, isErrorCode, OrderPlatformError } from '../domain/errors.ts';

export const RPC_DEADLINE_MS = 8_000;
/** What a request made goes on without its workflow, where that does not start in this time. */
export const START_DEADLINE_MS = 4_000;
const NOT_FOUND = 5;
const FAILED_PRECONDITION = 9;
const DROPPED_RETRY_MS = 20;

/** gRPC: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const UNAVAILABLE = new Set([1, 4, 8, 14]);

/** Temporal is not called at all for now, because it has failed too often or has never answered. */
export class TemporalLeftAlone extends Error {}

/** The Temporal that this process works with. */
export interface Temporal {
  /** Throws `TemporalLeftAlone` until Temporal has answered for the first time. */
  readonly client: Client;
}

/** Leaves Temporal alone for a while when it fails too often. */
export interface TemporalCircuit {
  /** Throws `TemporalLeftAlone` without calling. */
  run<T>(call: () => Promise<T>): Promise<T>;
  isClosed(): boolean;
}

/** Whether an error says that Temporal cannot be reached or does not answer now. */
export function isTemporalUnavailable(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof TemporalLeftAlone) return true;
    if (isGrpcServiceError(cause) && UNAVAILABLE.has(cause.code)) return true;
  }
  return false;
}

export const isNotFound = (error: unknown): boolean =>
  error instanceof WorkflowNotFoundError || (isGrpcServiceError(error) && error.code === NOT_FOUND);

/** Asks whether Temporal is there. Throws where it does not answer in this time, an error of `isTemporalUnavailable`. */
export async function reach(client: Client, ms: number): Promise<void> {
  const asked = client.withDeadline(Date.now() + ms, () => client.workflowService.getSystemInfo({}));
  await pTimeout(asked, { milliseconds: ms, message: new TemporalLeftAlone('Temporal does not answer.') });
}

/**
 * Runs an update and gives its result; `undecided` when no worker took it up within `waitMs`, `closed` when there is no
 * running workflow. Throws the domain error of a refusal, and soon where Temporal does not answer.
 */
export async function tryUpdate<Result>(
  client: Client,
  handle: WorkflowHandle,
  definition: UpdateDefinition<Result, [request: unknown]>,
  request: unknown,
  waitMs: number,
): Promise<Result | 'closed' | 'undecided'> {
  // An update waits for a worker, and would wait as long for a Temporal that is away.
  await reach(client, START_DEADLINE_MS);
  const deadline = Date.now() + waitMs;
  while (Date.now() < deadline) {
    try {
      return await client.withDeadline(deadline, () => handle.executeUpdate(definition, { args: [request] }));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return 'closed';
      if (error instanceof WorkflowUpdateFailedError) throw refusalOf(error);
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || isTimeout(error)) return 'undecided';
      if (!wasDropped(error)) throw error;
      await delay(DROPPED_RETRY_MS);
    }
  }
  return 'undecided';
}

/** The workflow was about to end when another message came: the server takes that task back, its updates with it. */
const wasDropped = (error: unknown): boolean =>
  error instanceof Error && isGrpcServiceError(error.cause) && error.cause.code === FAILED_PRECONDITION;

const isTimeout = (error: unknown): boolean =>
  isGrpcServiceError(error) && (error.code === 1 || error.code === 4);

/** What the workflow refused, as the error it named; anything else stays as it is. */
function refusalOf(error: WorkflowUpdateFailedError): Error {
  const { cause } = error;
  if (!(cause instanceof ApplicationFailure) || !isErrorCode(cause.type)) return error;
  const [details] = (cause.details ?? []) as [(Record<string, unknown> & { errors?: FieldError[] })?];
  const { errors, ...extra } = details ?? {};
  return new OrderPlatformError(cause.type, cause.message, { extra, ...(errors && { errors }) });
}

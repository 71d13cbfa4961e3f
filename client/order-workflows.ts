import {
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  type WorkflowStartOptions,
} from '@temporalio/client';
import { type SearchAttributePair, TypedSearchAttributes } from '@temporalio/common';
import type { Logger } from 'pino';
import { OrderPlatformError } from '../domain/errors.ts';
import { orderIdPrefix } from '../domain/ids.ts';
import { orderWorkflowId, type PlacedOrder } from '../domain/order.ts';
import {
  type CancelRequest,
  cancelSignal,
  cancelUpdate,
  type ChangeRequest,
  changeShippingAddressUpdate,
  CUSTOMER_ID,
  type DeliverRequest,
  deliverUpdate,
  ORDER_STATUS,
  ORDER_WORKFLOW,
  type PaymentNews,
  paymentSignal,
  type ShipRequest,
  shipUpdate,
  TASK_QUEUE,
} from '../workflows/messages.ts';
import {
  isNotFound,
  reach,
  RPC_DEADLINE_MS,
  START_DEADLINE_MS,
  type Temporal,
  type TemporalCircuit,
  TemporalLeftAlone,
  tryUpdate,
} from './calls.ts';
import { detailsOf, summaryOf } from './descriptions.ts';

/** Right after they are registered Temporal does not know search attributes yet; later it may. */
const SEARCH_ATTRIBUTES_RETRY_MS = 30_000;
const ANSWER_MS = 1_000;
const INVALID_ARGUMENT = 3;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** What the API and the reconciling ask of the workflows of orders. */
export interface OrderWorkflows {
  /** Whether Temporal answers, as far as the last starts tell. */
  areReachable(): boolean;
  /** Asks Temporal whether it is there, for a second at most. */
  isTemporalThere(): Promise<boolean>;
  /** Starts the workflow of an accepted order; `false` when it had been started before. */
  start(accepted: PlacedOrder): Promise<boolean>;
  /** Starts the workflow of an order again when it is gone, `false` when it runs; it goes on from the order's row. */
  restart(order: PlacedOrder): Promise<boolean>;
  /** Whether the order's workflow runs. */
  isRunning(orderId: string): Promise<boolean>;
  /**
   * The orders whose workflows were ended from outside since then, at most `limit`. One that failed by itself would fail
   * again.
   */
  listBroken(since: Date, limit: number): Promise<string[]>;
  /** Lets a workflow know that its order was cancelled; nothing happens where none runs. */
  cancelIfRunning(orderId: string): Promise<void>;
  /** The order as it was accepted, from the workflow's own history, or undefined. Needs no worker. */
  findAccepted(orderId: string): Promise<PlacedOrder | undefined>;
  /** The same for an order that its workflow has not placed yet. */
  findPending(orderId: string): Promise<PlacedOrder | undefined>;
  /** The same by the order's number, as soon as Temporal's visibility knows the workflow. */
  findAcceptedByNumber(number: string): Promise<PlacedOrder | undefined>;
  /**
   * Cancels through the workflow. `done` when it is cancelled, `requested` when no worker took it up within `waitMs`
   * and the wish is recorded, `closed` when there is no running workflow. Throws the domain error of a refusal, and soon
   * where Temporal does not answer: at once where it is left alone.
   */
  cancel(orderId: string, request: CancelRequest, waitMs: number): Promise<'done' | 'requested' | 'closed'>;
  /**
   * These three run through the workflow as well; `closed` when there is no running workflow. They throw the domain
   * error of a refusal, and `unavailable` when no worker took them up within `waitMs`.
   */
  change(orderId: string, request: ChangeRequest, waitMs: number): Promise<'done' | 'closed'>;
  ship(orderId: string, request: ShipRequest, waitMs: number): Promise<{ shipmentId: string } | 'closed'>;
  deliver(orderId: string, request: DeliverRequest, waitMs: number): Promise<'done' | 'closed'>;
  /** Passes on what a payment company told; `closed` when there is no running workflow. */
  tellPayment(orderId: string, news: PaymentNews): Promise<'told' | 'closed'>;
}

export interface OrderWorkflowsOptions {
  temporal: Temporal;
  logger: Logger;
  /** Whether this process polls the task queue, so that the first task can come with the answer to the start. */
  eager: boolean;
  circuit: TemporalCircuit;
}

export function createOrderWorkflows({
  temporal,
  logger,
  eager,
  circuit,
}: OrderWorkflowsOptions): OrderWorkflows {
  /** Until then orders start without search attributes, because Temporal did not know them. */
  let unsearchableUntil = 0;

  const searchAttributes = (accepted: PlacedOrder) => {
    const pairs: SearchAttributePair[] = [
      { key: ORDER_STATUS, value: 'pending' },
      { key: CUSTOMER_ID, value: accepted.customerId },
    ];
    return Date.now() < unsearchableUntil ? {} : { typedSearchAttributes: new TypedSearchAttributes(pairs) };
  };

  type IdPolicies = Pick<WorkflowStartOptions, 'workflowIdReusePolicy' | 'workflowIdConflictPolicy'>;

  const start = async (accepted: PlacedOrder, policies: IdPolicies): Promise<boolean> => {
    try {
      await circuit.run(() =>
        temporal.client.withDeadline(Date.now() + START_DEADLINE_MS, () =>
          temporal.client.workflow.start(ORDER_WORKFLOW, {
            args: [accepted],
            taskQueue: TASK_QUEUE,
            workflowId: orderWorkflowId(accepted.orderId),
            requestEagerStart: eager,
            ...policies,
            staticSummary: summaryOf(accepted),
            staticDetails: detailsOf(accepted),
            ...searchAttributes(accepted),
          }),
        ),
      );
      return true;
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
      if (Date.now() >= unsearchableUntil && isUnknownSearchAttribute(error)) {
        logger.warn('Temporal does not know the search attributes of orders; going on without them');
        unsearchableUntil = Date.now() + SEARCH_ATTRIBUTES_RETRY_MS;
        return await start(accepted, policies);
      }
      throw error;
    }
  };

  const handleOf = (orderId: string) => temporal.client.workflow.getHandle(orderWorkflowId(orderId));

  const signal = async (send: () => Promise<void>): Promise<boolean> => {
    try {
      await temporal.client.withDeadline(Date.now() + RPC_DEADLINE_MS, send);
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  };

  const findAccepted = async (orderId: string): Promise<PlacedOrder | undefined> => {
    try {
      const { history } = await circuit.run(() =>
        temporal.client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
          temporal.client.workflowService.getWorkflowExecutionHistory({
            namespace: temporal.client.options.namespace,
            execution: { workflowId: orderWorkflowId(orderId) },
            maximumPageSize: 1,
          }),
        ),
      );
      const started = history?.events?.[0]?.workflowExecutionStartedEventAttributes;
      const payload = started?.input?.payloads?.[0];
      if (started?.workflowType?.name !== ORDER_WORKFLOW || !payload) return undefined;
      return temporal.client.options.loadedDataConverter.payloadConverter.fromPayload<PlacedOrder>(payload);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };

  return {
    areReachable: () => circuit.isClosed(),

    async isTemporalThere() {
      try {
        await reach(temporal.client, ANSWER_MS);
        return true;
      } catch {
        return false;
      }
    },

    start: (accepted) =>
      start(accepted, { workflowIdReusePolicy: 'REJECT_DUPLICATE', workflowIdConflictPolicy: 'FAIL' }),

    restart: (order) =>
      start(order, { workflowIdReusePolicy: 'ALLOW_DUPLICATE', workflowIdConflictPolicy: 'FAIL' }),

    findAccepted,

    async findPending(orderId) {
      try {
        const { typedSearchAttributes } = await temporal.client.withDeadline(
          Date.now() + RPC_DEADLINE_MS,
          () => handleOf(orderId).describe(),
        );
        if (typedSearchAttributes.get(ORDER_STATUS) !== 'pending') return undefined;
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
      return await findAccepted(orderId);
    },

    async findAcceptedByNumber(number) {
      const query = `WorkflowId STARTS_WITH "${orderWorkflowId(orderIdPrefix(number))}"`;
      const { executions } = await temporal.client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
        temporal.client.workflowService.listWorkflowExecutions({
          namespace: temporal.client.options.namespace,
          query,
          pageSize: 10,
        }),
      );
      for (const { execution } of executions ?? []) {
        const accepted = await findAccepted(execution!.workflowId!.replace(orderWorkflowId(''), ''));
        if (accepted?.number === number) return accepted;
      }
      return undefined;
    },

    async isRunning(orderId) {
      try {
        const { status } = await temporal.client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
          handleOf(orderId).describe(),
        );
        return status.name === 'RUNNING';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return false;
        throw error;
      }
    },

    async listBroken(since, limit) {
      const query =
        `WorkflowType = '${ORDER_WORKFLOW}' AND CloseTime > '${since.toISOString()}' AND ` +
        `ExecutionStatus IN ('Terminated', 'TimedOut', 'Canceled')`;
      const { executions } = await temporal.client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
        temporal.client.workflowService.listWorkflowExecutions({
          namespace: temporal.client.options.namespace,
          query,
          pageSize: limit,
        }),
      );
      const ids = (executions ?? []).map(({ execution }) =>
        execution!.workflowId!.replace(orderWorkflowId(''), ''),
      );
      return [...new Set(ids)].filter((id) => UUID.test(id));
    },

    async cancelIfRunning(orderId) {
      await signal(() => handleOf(orderId).signal(cancelSignal, { by: 'reconcile' }));
    },

    async cancel(orderId, request, waitMs) {
      if (!circuit.isClosed()) throw new TemporalLeftAlone('Temporal does not answer.');
      const handle = handleOf(orderId);
      const outcome = await tryUpdate(temporal.client, handle, cancelUpdate, request, waitMs);
      if (outcome !== 'undecided') return outcome === 'closed' ? outcome : 'done';
      if (request.lines) throw undecided();
      return (await signal(() => handle.signal(cancelSignal, request))) ? 'requested' : 'closed';
    },

    async change(orderId, request, waitMs) {
      const outcome = await tryUpdate(
        temporal.client,
        handleOf(orderId),
        changeShippingAddressUpdate,
        request,
        waitMs,
      );
      if (outcome === 'undecided') throw undecided();
      return outcome === 'closed' ? outcome : 'done';
    },

    async ship(orderId, request, waitMs) {
      const outcome = await tryUpdate(temporal.client, handleOf(orderId), shipUpdate, request, waitMs);
      if (outcome === 'undecided') throw undecided();
      return outcome;
    },

    async deliver(orderId, request, waitMs) {
      const outcome = await tryUpdate(temporal.client, handleOf(orderId), deliverUpdate, request, waitMs);
      if (outcome === 'undecided') throw undecided();
      return outcome === 'closed' ? outcome : 'done';
    },

    async tellPayment(orderId, news) {
      return (await signal(() => handleOf(orderId).signal(paymentSignal, news))) ? 'told' : 'closed';
    },
  };
}

const undecided = () =>
  new OrderPlatformError('unavailable', 'No worker took it up in time. Please try again.');

const isUnknownSearchAttribute = (error: unknown): boolean => {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (isGrpcServiceError(cause) && cause.code === INVALID_ARGUMENT)
      return /search attribute/i.test(cause.details);
  }
  return false;
};

import {
  type Client,
  type WorkflowHandle,
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
  type WorkflowStartOptions,
} from '@temporalio/client';
import {
  ApplicationFailure,
  type SearchAttributePair,
  TypedSearchAttributes,
  type UpdateDefinition,
} from '@temporalio/common';
import type { Logger } from 'pino';
import { isErrorCode, OrderPlatformError } from '../domain/errors.ts';
import { escapeMarkdown } from '../domain/markdown.ts';
import { orderIdPrefix } from '../domain/ids.ts';
import { formatMoney } from '../domain/money.ts';
import { type OrderState, orderWorkflowId, type PlacedOrder } from '../domain/order.ts';
import {
  type CancelRequest,
  type ChangeRequest,
  changeShippingAddressUpdate,
  cancelSignal,
  cancelUpdate,
  CUSTOMER_ID,
  ORDER_STATUS,
  ORDER_WORKFLOW,
  TASK_QUEUE,
} from '../workflows/messages.ts';

const RPC_DEADLINE_MS = 8_000;
/** Right after they are registered Temporal does not know search attributes yet; later it may. */
const SEARCH_ATTRIBUTES_RETRY_MS = 30_000;
const NOT_FOUND = 5;
const INVALID_ARGUMENT = 3;

/** gRPC: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const UNAVAILABLE = new Set([1, 4, 8, 14]);

/** Whether an error says that Temporal cannot be reached or does not answer now. */
export function isTemporalUnavailable(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (isGrpcServiceError(cause) && UNAVAILABLE.has(cause.code)) return true;
  }
  return false;
}

/** What the API asks of the workflows of orders. */
export interface OrderWorkflows {
  /** Starts the workflow of an accepted order; `false` when it had been started before. */
  start(accepted: PlacedOrder): Promise<boolean>;
  /** Starts the workflow of an order again when it is gone, `false` when it runs; it goes on from the order's row. */
  restart(order: PlacedOrder): Promise<boolean>;
  /** The order as it was accepted, from the workflow's own history, or undefined. Needs no worker. */
  findAccepted(orderId: string): Promise<PlacedOrder | undefined>;
  /** The same by the order's number, as soon as Temporal's visibility knows the workflow. */
  findAcceptedByNumber(number: string): Promise<PlacedOrder | undefined>;
  /**
   * Cancels through the workflow. `done` when it is cancelled, `requested` when no worker took it up within `waitMs`
   * and the wish is recorded, `closed` when there is no running workflow. Throws the domain error of a refusal.
   */
  cancel(orderId: string, request: CancelRequest, waitMs: number): Promise<'done' | 'requested' | 'closed'>;
  /**
   * Changes address or note through the workflow; `closed` when there is no running workflow. Throws the domain error
   * of a refusal, and `unavailable` when no worker took it up within `waitMs`.
   */
  change(orderId: string, request: ChangeRequest, waitMs: number): Promise<'done' | 'closed'>;
}

export interface OrderWorkflowsOptions {
  client: Client;
  logger: Logger;
  /** Whether this process polls the task queue, so that the first task can come with the answer to the start. */
  eager: boolean;
}

export function createOrderWorkflows({ client, logger, eager }: OrderWorkflowsOptions): OrderWorkflows {
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
      await client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
        client.workflow.start(ORDER_WORKFLOW, {
          args: [accepted],
          taskQueue: TASK_QUEUE,
          workflowId: orderWorkflowId(accepted.orderId),
          requestEagerStart: eager,
          ...policies,
          staticSummary: summaryOf(accepted),
          staticDetails: detailsOf(accepted),
          ...searchAttributes(accepted),
        }),
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

  /** Runs an update; `undecided` when no worker took it up within `waitMs`. Throws the domain error of a refusal. */
  const update = async (
    handle: WorkflowHandle,
    definition: UpdateDefinition<OrderState, [request: unknown]>,
    request: unknown,
    waitMs: number,
  ): Promise<'done' | 'closed' | 'undecided'> => {
    if (waitMs === 0) return 'undecided';
    try {
      await client.withDeadline(Date.now() + waitMs, () =>
        handle.executeUpdate(definition, { args: [request] }),
      );
      return 'done';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return 'closed';
      if (error instanceof WorkflowUpdateFailedError) throw refusalOf(error);
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || isTimeout(error)) return 'undecided';
      throw error;
    }
  };

  const findAccepted = async (orderId: string): Promise<PlacedOrder | undefined> => {
    try {
      const { history } = await client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
        client.workflowService.getWorkflowExecutionHistory({
          namespace: client.options.namespace,
          execution: { workflowId: orderWorkflowId(orderId) },
          maximumPageSize: 1,
        }),
      );
      const started = history?.events?.[0]?.workflowExecutionStartedEventAttributes;
      const payload = started?.input?.payloads?.[0];
      if (started?.workflowType?.name !== ORDER_WORKFLOW || !payload) return undefined;
      return client.options.loadedDataConverter.payloadConverter.fromPayload<PlacedOrder>(payload);
    } catch (error) {
      if (isGrpcServiceError(error) && error.code === NOT_FOUND) return undefined;
      throw error;
    }
  };

  return {
    start: (accepted) =>
      start(accepted, { workflowIdReusePolicy: 'REJECT_DUPLICATE', workflowIdConflictPolicy: 'FAIL' }),

    restart: (order) =>
      start(order, { workflowIdReusePolicy: 'ALLOW_DUPLICATE', workflowIdConflictPolicy: 'FAIL' }),

    findAccepted,

    async findAcceptedByNumber(number) {
      const query = `WorkflowId STARTS_WITH "${orderWorkflowId(orderIdPrefix(number))}"`;
      const { executions } = await client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
        client.workflowService.listWorkflowExecutions({
          namespace: client.options.namespace,
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

    async cancel(orderId, request, waitMs) {
      const handle = client.workflow.getHandle(orderWorkflowId(orderId));
      const outcome = await update(handle, cancelUpdate, request, waitMs);
      if (outcome !== 'undecided') return outcome;
      try {
        await client.withDeadline(Date.now() + RPC_DEADLINE_MS, () => handle.signal(cancelSignal, request));
        return 'requested';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return 'closed';
        throw error;
      }
    },

    async change(orderId, request, waitMs) {
      const handle = client.workflow.getHandle(orderWorkflowId(orderId));
      const outcome = await update(handle, changeShippingAddressUpdate, request, waitMs);
      if (outcome !== 'undecided') return outcome;
      throw new OrderPlatformError('unavailable', 'No worker took the change up in time. Please try again.');
    },
  };
}

const isTimeout = (error: unknown): boolean =>
  isGrpcServiceError(error) && (error.code === 1 || error.code === 4);

const isUnknownSearchAttribute = (error: unknown): boolean => {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (isGrpcServiceError(cause) && cause.code === INVALID_ARGUMENT)
      return /search attribute/i.test(cause.details);
  }
  return false;
};

/** What the workflow refused, as the error it named; anything else stays as it is. */
function refusalOf(error: WorkflowUpdateFailedError): Error {
  const { cause } = error;
  if (!(cause instanceof ApplicationFailure) || !isErrorCode(cause.type)) return error;
  const [extra] = (cause.details ?? []) as [Record<string, unknown>?];
  return new OrderPlatformError(cause.type, cause.message, { ...(extra && { extra }) });
}

const summaryOf = ({ number, lines, total, currency }: PlacedOrder): string => {
  const units = lines.reduce((sum, line) => sum + line.quantity, 0);
  return `Order ${number}: ${units} ${units === 1 ? 'item' : 'items'}, ${formatMoney(total, currency, 'en')}`;
};

const MAX_DETAIL_LINES = 20;

/** In Markdown, as the Web UI shows it. Amounts carry the currency's code: between two `$` it sees a formula. */
function detailsOf({ customerId, lines, total, currency }: PlacedOrder): string {
  const money = (amount: number) => formatMoney(amount, currency, 'en', 'code');
  const shown = lines.slice(0, MAX_DETAIL_LINES).map(({ quantity, name, sku, unitPrice }) => {
    return `- ${quantity} × ${escapeMarkdown(name)} (\`${sku}\`): ${money(unitPrice * quantity)}`;
  });
  const more = lines.length > shown.length ? [`- and ${lines.length - shown.length} more`] : [];
  return [`Customer \`${customerId}\``, [...shown, ...more].join('\n'), `Total **${money(total)}**`].join(
    '\n\n',
  );
}

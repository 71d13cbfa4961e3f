import { WorkflowExecutionAlreadyStartedError, type WorkflowStartOptions } from '@temporalio/client';
import pTimeout from 'p-timeout';
import type { PaymentStatus } from '../domain/payments.ts';
import { isReturnSeenTo, type Return, type ReturnCommand, returnWorkflowId } from '../domain/returns.ts';
import {
  IMPORT_WORKFLOW,
  importWorkflowId,
  deliverSignal,
  NOTIFICATION_WORKFLOW,
  notificationWorkflowId,
  type PaymentNews,
  REFUND_WORKFLOW,
  RETURN_WORKFLOW,
  type ReturnInput,
  returnUpdates,
  type Sent,
  TASK_QUEUE,
  WEBHOOK_WORKFLOW,
  webhookWorkflowId,
} from '../workflows/messages.ts';
import {
  RPC_DEADLINE_MS,
  START_DEADLINE_MS,
  type Temporal,
  type TemporalCircuit,
  tryUpdate,
} from './calls.ts';

/** The workflow ID of what moves the money of one payment after, or beside, the order's own workflow. */
const refundWorkflowId = (paymentId: string): string => `refund-${paymentId}`;

/** What the API and the reconciling ask of the workflows that live beside an order's. */
export interface SideWorkflows {
  /** Moves what the order owes, or takes up `news` first; false where that is under way already. */
  startRefund(orderId: string, paymentId: string, news?: PaymentNews): Promise<boolean>;
  /** Waits for a refund up to `waitMs`; undefined when it takes longer. */
  awaitRefund(paymentId: string, waitMs: number): Promise<PaymentStatus | undefined>;
  /** Starts the workflow of a return; nothing happens where it runs, or has completed since `returned` was read. */
  startReturn(returned: Return, number: string): Promise<boolean>;
  /** Starts to send a notification again and again; false where that is under way already. */
  startNotification(notificationId: string): Promise<boolean>;
  /** Starts to take the rows of a file; false where that is under way already. */
  startImport(importId: string, type: string): Promise<boolean>;
  /** Lets a webhook be delivered now: by its workflow if it runs, else by a new one. */
  deliverWebhook(delivery: { id: string; round: number; eventType: string; url: string }): Promise<void>;
  /** Takes a return one step on; `closed` when its workflow does not run. Throws the domain error of a refusal. */
  advanceReturn(
    returnId: string,
    command: ReturnCommand,
    sent: Sent,
    waitMs: number,
  ): Promise<'done' | 'closed' | 'undecided'>;
}

export function createSideWorkflows(temporal: Temporal, circuit: TemporalCircuit): SideWorkflows {
  const start = async (type: string, options: Omit<WorkflowStartOptions, 'taskQueue'>): Promise<boolean> => {
    try {
      await circuit.run(() =>
        temporal.client.withDeadline(Date.now() + START_DEADLINE_MS, () =>
          temporal.client.workflow.start(type, { taskQueue: TASK_QUEUE, ...options }),
        ),
      );
      return true;
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
      throw error;
    }
  };

  return {
    startRefund: (orderId, paymentId, news) =>
      start(REFUND_WORKFLOW, {
        workflowId: refundWorkflowId(paymentId),
        args: [orderId, ...(news ? [news] : [])],
        staticSummary: `Money of order ${orderId}`,
      }),

    async awaitRefund(paymentId, waitMs) {
      const handle = temporal.client.workflow.getHandle(refundWorkflowId(paymentId));
      const result = temporal.client.withDeadline(Date.now() + waitMs + 1_000, (): Promise<PaymentStatus> =>
        handle.result(),
      );
      return await pTimeout(result, { milliseconds: waitMs }).catch(() => undefined);
    },

    startReturn({ id, orderId, status, lines }, number) {
      const input: ReturnInput = { orderId, returnId: id, status };
      const units = lines.reduce((sum, { quantity }) => sum + quantity, 0);
      return start(RETURN_WORKFLOW, {
        workflowId: returnWorkflowId(id),
        args: [input],
        // Until a return is seen to its workflow does not complete: a start that finds it completed is stale.
        workflowIdReusePolicy: isReturnSeenTo(status) ? 'ALLOW_DUPLICATE' : 'ALLOW_DUPLICATE_FAILED_ONLY',
        staticSummary: `Return of order ${number}: ${units} ${units === 1 ? 'item' : 'items'}`,
      });
    },

    startNotification: (id) =>
      start(NOTIFICATION_WORKFLOW, {
        workflowId: notificationWorkflowId(id),
        args: [id],
        staticSummary: 'A message that did not get out at the first try',
      }),

    startImport: (id, type) =>
      start(IMPORT_WORKFLOW, {
        workflowId: importWorkflowId(id),
        args: [id],
        staticSummary: `Import of ${type}`,
      }),

    async deliverWebhook({ id, round, eventType, url }) {
      await temporal.client.withDeadline(Date.now() + RPC_DEADLINE_MS, () =>
        temporal.client.workflow.signalWithStart(WEBHOOK_WORKFLOW, {
          taskQueue: TASK_QUEUE,
          workflowId: webhookWorkflowId(id),
          args: [id],
          signal: deliverSignal,
          signalArgs: [round],
          staticSummary: `${eventType} to ${new URL(url).host}`,
        }),
      );
    },

    async advanceReturn(returnId, command, sent, waitMs) {
      const handle = temporal.client.workflow.getHandle(returnWorkflowId(returnId));
      const outcome = await tryUpdate(temporal.client, handle, returnUpdates[command], sent, waitMs);
      return outcome === 'closed' || outcome === 'undecided' ? outcome : 'done';
    },
  };
}

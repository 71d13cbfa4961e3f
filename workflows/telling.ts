import { ParentClosePolicy, startChild } from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { notificationWorkflowId } from './messages.ts';
import { notification } from './notification.ts';

/** Messages that did not get out at the first try get a workflow of their own, once each; what they are about goes on. */
export async function keepTelling(notificationIds: string[], staticSummary: string): Promise<void> {
  for (const notificationId of notificationIds) {
    await startChild(notification, {
      args: [notificationId],
      workflowId: notificationWorkflowId(notificationId),
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary,
    }).catch((error: unknown) => {
      // It was handed over before.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    });
  }
}

import { ApplicationFailure } from '@temporalio/workflow';
import type { Refusal, StepResult } from '../activities/steps.ts';
import type { OrderStatus } from '../domain/states.ts';

/** What the activities of release 0.1 answered; it stands in the histories of orders that began under it. */
export interface PastResult {
  outcome?: 'cancelled' | 'changed' | 'unchanged' | 'illegal' | 'version_conflict';
  status?: OrderStatus;
  reason?: string;
  version?: number;
  notificationId?: string;
  told?: boolean;
}

/** How a step ended, whichever release took it. Throws what was refused. */
export function readResult(result: StepResult | Refusal | PastResult): Partial<StepResult> {
  if ('refused' in result) {
    const { code, detail, extra } = result.refused;
    throw ApplicationFailure.nonRetryable(detail, code, extra);
  }
  if ('untold' in result) return result;
  const { outcome, status, reason, version, notificationId, told } = result;
  if (outcome === 'illegal') {
    throw ApplicationFailure.nonRetryable(`The order is ${status}.`, 'invalid_transition', {
      currentStatus: status,
    });
  }
  if (outcome === 'version_conflict') {
    throw ApplicationFailure.nonRetryable(`The order is at version ${version}.`, 'version_conflict', {
      version,
    });
  }
  const reached = outcome === 'cancelled' ? 'cancelled' : status;
  return {
    ...(reached !== undefined && { status: reached }),
    ...(reason !== undefined && { reason }),
    untold: notificationId === undefined || told ? [] : [notificationId],
  };
}

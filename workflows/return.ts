import {
  allHandlersFinished,
  CancellationScope,
  condition,
  setCurrentDetails,
  setHandler,
} from '@temporalio/workflow';
import type { StepResult } from '../activities/steps.ts';
import {
  isReturnFinal,
  RETURN_TRANSITIONS,
  type ReturnCommand,
  type ReturnStatus,
} from '../domain/returns.ts';
import { type ReturnInput, returnStatusQuery, returnUpdates, type Sent } from './messages.ts';
import { patiently, quickly } from './order-activities.ts';
import { readResult } from './past-results.ts';
import { keepTelling } from './telling.ts';

/** The life of a return: requested, approved or rejected, received, refunded. It outlives the order's workflow. */
export async function orderReturn({ orderId, returnId, status: begun }: ReturnInput): Promise<ReturnStatus> {
  let status = begun;
  const moveTo = (next: ReturnStatus): void => {
    status = next;
    setCurrentDetails(`**${status}**`);
  };

  const tell = ({ untold = [] }: Partial<StepResult>): Promise<void> =>
    keepTelling(untold, `Message about return ${returnId}`);

  const advance = async (command: ReturnCommand, sent?: unknown): Promise<ReturnStatus> =>
    await CancellationScope.nonCancellable(async () => {
      const { by } = (sent ?? {}) as Sent;
      const actor = typeof by === 'string' ? by : 'temporal-update';
      const answer = await quickly.advanceReturn(orderId, returnId, command, actor);
      // Another run of this workflow may have taken the return on.
      if ('refused' in answer)
        moveTo((answer.refused.extra as { currentStatus: ReturnStatus }).currentStatus);
      let result = readResult(answer);
      moveTo(RETURN_TRANSITIONS[command].to);
      while (result.unsettled) result = await patiently.settlePayments(orderId);
      if (command === 'receive') moveTo('refunded');
      await tell(result);
      return status;
    });

  setHandler(returnStatusQuery, () => status);
  setHandler(returnUpdates.approve, (sent) => advance('approve', sent));
  setHandler(returnUpdates.reject, (sent) => advance('reject', sent));
  setHandler(returnUpdates.receive, (sent) => advance('receive', sent));
  moveTo(begun);
  return await CancellationScope.nonCancellable(async () => {
    if (begun === 'received') await advance('receive');
    else await tell(readResult(await quickly.followUp(orderId)));
    await condition(() => isReturnFinal(status) && allHandlersFinished());
    return status;
  });
}

import {
  allHandlersFinished,
  CancellationScope,
  condition,
  setCurrentDetails,
  setHandler,
} from '@temporalio/workflow';
import type { StepResult } from '../activities/steps.ts';
import { isReturnSeenTo, type ReturnCommand, type ReturnStatus } from '../domain/returns.ts';
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
      const { by, commandId, expectedVersion } = (sent ?? {}) as Sent;
      const actor = typeof by === 'string' ? by : 'temporal-update';
      const once = typeof commandId === 'string' ? commandId : undefined;
      const version = Number.isInteger(expectedVersion) ? expectedVersion : undefined;
      const answer = await quickly.advanceReturn(orderId, returnId, command, actor, once, version);
      if (!('refused' in answer)) {
        let result = readResult(answer);
        while (result.unsettled) result = await patiently.settlePayments(orderId);
        await tell(result);
      }
      moveTo((await quickly.readReturn(orderId, returnId)) ?? status);
      readResult(answer);
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
    await condition(() => isReturnSeenTo(status) && allHandlersFinished());
    return status;
  });
}

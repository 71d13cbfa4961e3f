import { patched, upsertMemo } from '@temporalio/workflow';
import type { OrderState, PlacedOrder } from '../../domain/order.ts';
import { order as orderOfThisBuild } from '../../workflows/index.ts';

export * from '../../workflows/index.ts';

/** The order of a later build: with one more step at its begin and one at its end, guarded as every new step is. */
export async function order(accepted: PlacedOrder): Promise<OrderState> {
  if (patched('note-the-begin')) upsertMemo({ begunBy: 'the next build' });
  const state = await orderOfThisBuild(accepted);
  if (patched('note-the-end')) upsertMemo({ endedBy: 'the next build' });
  return state;
}

import {
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  setHandler,
} from '@temporalio/workflow';
import type { OrderState, PlacedOrder } from '../domain/order.ts';
import {
  cancelSignal,
  cancelUpdate,
  changeShippingAddressUpdate,
  deliverUpdate,
  paymentSignal,
  shipUpdate,
  statusQuery,
} from './messages.ts';
import { OrderFlow } from './order-flow.ts';

/**
 * The life of an order: it is placed, paid, shipped and delivered, or ends before. All of it runs shielded from
 * Temporal's own cancellation, which is one more way to ask for the same cancelling. A run that has become too long for
 * Temporal is followed by another, from the order's row.
 */
export async function order(accepted: PlacedOrder): Promise<OrderState> {
  const flow = new OrderFlow(accepted);
  setHandler(statusQuery, () => flow.state);
  setHandler(cancelSignal, (input) => flow.cancelIfPossible(input, 'temporal-signal'));
  setHandler(paymentSignal, (news) => flow.hearOfPayment(news));
  setHandler(cancelUpdate, (input) => flow.cancel(input, 'temporal-update'), {
    validator: (input) => flow.validate('cancel', input),
  });
  setHandler(changeShippingAddressUpdate, (input) => flow.change(input), {
    validator: (input) => flow.validate('change', input),
  });
  setHandler(shipUpdate, (input) => flow.ship(input), { validator: (input) => flow.validate('ship', input) });
  setHandler(deliverUpdate, (input) => flow.deliver(input), {
    validator: (input) => flow.validate('deliver', input),
  });
  CancellationScope.current().cancelRequested.catch(() =>
    flow.cancelIfPossible(undefined, 'temporal-cancel'),
  );
  if (CancellationScope.current().consideredCancelled)
    void flow.cancelIfPossible(undefined, 'temporal-cancel');

  return await CancellationScope.nonCancellable(async () => {
    await flow.place();
    await flow.payInTime();
    await flow.shipInTime();
    await condition(() => (flow.hasEnded() || flow.mayGoOnAnew()) && allHandlersFinished());
    if (!flow.hasEnded()) await continueAsNew<typeof order>({ ...accepted, isPlaced: true });
    return flow.state;
  });
}

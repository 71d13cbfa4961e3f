import { CancellationScope } from '@temporalio/workflow';
import type { PaymentStatus } from '../domain/payments.ts';
import type { PaymentNews } from './messages.ts';
import { patiently, quickly } from './order-activities.ts';
import { readResult } from './past-results.ts';
import { keepTelling } from './telling.ts';

/**
 * Moves the money that an order still owes, for as long as that takes: a refund, or a payment that came (`news`) after
 * its order had ended. Answers with where the order's money stands then.
 */
export async function refund(orderId: string, news?: PaymentNews): Promise<PaymentStatus> {
  return await CancellationScope.nonCancellable(async () => {
    let result = news && readResult(await quickly.notePayment(orderId, news.paymentId, news.outcome));
    while (result?.unsettled !== false) result = await patiently.settlePayments(orderId);
    await keepTelling(result.untold ?? [], 'Message about a payment');
    return result.paymentStatus ?? 'none';
  });
}

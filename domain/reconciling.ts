import { openUnits, type OrderRecord, type Step, unitsBySku } from './record.ts';

export const FINDINGS = [
  'lost_workflow',
  'unplaced_order',
  'unaware_workflow',
  'dead_reservation',
  'stock_drift',
  'stuck_payment',
  'unknown_payment',
  'stuck_notification',
  'unerased_customer',
  'stuck_import',
] as const;

/** Something that reconciling found wrong; `healed` says whether it could be put right. */
export interface Finding {
  kind: (typeof FINDINGS)[number];
  subject: string;
  healed: boolean;
}

/** Takes from an order that has ended what it still holds of the stock; its money follows. */
export function releaseDead(order: OrderRecord, at: string): Step | undefined {
  const of = openUnits(order);
  const ended = order.status === 'rejected' || order.status === 'cancelled';
  if (of.length === 0 || !ended) return undefined;
  const cancelled = order.status === 'cancelled';
  const cancellation = order.cancellation ?? { reason: null, by: 'reconcile', at };
  return {
    by: 'reconcile',
    at,
    ...(cancelled && { set: { cancellation } }),
    units: { fate: cancelled ? 'cancelled' : 'rejected', of },
    events: [{ type: 'stock.released', data: { items: unitsBySku(order, of), reason: 'reconcile' } }],
  };
}

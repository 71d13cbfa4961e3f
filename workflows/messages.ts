import { defineSearchAttributeKey } from '@temporalio/common';
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { LineUnits, OrderChange, OrderState } from '../domain/order.ts';
import type { PaymentOutcome } from '../domain/paying.ts';
import type { ReturnCommand, ReturnStatus } from '../domain/returns.ts';

/** The task queue of everything Holdfast runs, but for the sending of webhooks. */
export const TASK_QUEUE = 'orders';

/** The task queue of the sending of webhooks, so that what hangs there keeps no order waiting. */
export const WEBHOOK_TASK_QUEUE = 'webhooks';

/** The types of the workflows, as Temporal stores them. */
export const ORDER_WORKFLOW = 'order';
export const RETURN_WORKFLOW = 'return';
export const REFUND_WORKFLOW = 'refund';
export const NOTIFICATION_WORKFLOW = 'notification';
export const IMPORT_WORKFLOW = 'import';
export const RECONCILE_WORKFLOW = 'reconcile';
export const CARTS_WORKFLOW = 'carts';
export const WEBHOOK_WORKFLOW = 'webhook';

/** The ID of the workflow that keeps trying to send a notification. */
export const notificationWorkflowId = (notificationId: string): string => `notification-${notificationId}`;

/** The ID of the workflow that takes the rows of a file. */
export const importWorkflowId = (importId: string): string => `import-${importId}`;

/** The ID of the workflow that delivers a webhook. */
export const webhookWorkflowId = (deliveryId: string): string => `webhook-${deliveryId}`;

/** Asks for an attempt to deliver a webhook now, in this round of it. */
export const deliverSignal = defineSignal<[round: unknown]>('deliver');

/** What the API adds to the body of a command: who sends it, and which version of the order it is about. */
export interface Sent {
  by?: string;
  expectedVersion?: number;
  /** Makes the cancelling of units, or the step of a return, one that happens once. */
  commandId?: string;
}

/** The body of `POST /v1/orders/:id/cancel`. */
export interface CancelRequest extends Sent {
  reason?: string;
  lines?: LineUnits[];
}

/** The body of `PATCH /v1/orders/:id`. */
export interface ChangeRequest extends OrderChange, Sent {}

/** The body of `POST /v1/orders/:id/shipments`; the `shipmentId` makes it happen once. */
export interface ShipRequest extends Sent {
  carrier: string;
  trackingNumber?: string;
  lines?: LineUnits[];
  shipmentId?: string;
}

/** Which shipment has arrived; without one all that are under way. */
export interface DeliverRequest extends Sent {
  shipmentId?: string;
}

/** What a payment company told of a payment. */
export interface PaymentNews {
  paymentId: string;
  outcome: PaymentOutcome;
}

/** Where the order stands. */
export const statusQuery = defineQuery<OrderState>('status');

/** Cancels the order. Its input is whatever an operator typed: anything but a CancelRequest counts as none. */
export const cancelSignal = defineSignal<[request: unknown]>('cancel');

/** A payment company told something by webhook. */
export const paymentSignal = defineSignal<[news: unknown]>('payment');

/** Cancels the order or single units, and answers how it ended. Fails with a code of domain/errors. */
export const cancelUpdate = defineUpdate<OrderState, [request: unknown]>('cancel');

/** Changes the shipping address or the note; takes the body of `PATCH /v1/orders/:id`. */
export const changeShippingAddressUpdate = defineUpdate<OrderState, [request: unknown]>(
  'changeShippingAddress',
);

/** Ships the order or a part of it; takes the body of `POST /v1/orders/:id/shipments`. */
export const shipUpdate = defineUpdate<OrderState & { shipmentId: string }, [request: unknown]>('ship');

/** Records the arrival of shipments. */
export const deliverUpdate = defineUpdate<OrderState, [request: unknown]>('deliver');

/** What the workflow of a return starts from. */
export interface ReturnInput {
  orderId: string;
  returnId: string;
  status: ReturnStatus;
}

/** Take a return one step on. */
export const returnUpdates = {
  approve: defineUpdate<ReturnStatus, [request: unknown]>('approve'),
  reject: defineUpdate<ReturnStatus, [request: unknown]>('reject'),
  receive: defineUpdate<ReturnStatus, [request: unknown]>('receive'),
} as const satisfies Record<ReturnCommand, unknown>;

/** Where the return stands. */
export const returnStatusQuery = defineQuery<ReturnStatus>('status');

export const ORDER_STATUS = defineSearchAttributeKey('OrderStatus', 'KEYWORD');
export const CUSTOMER_ID = defineSearchAttributeKey('CustomerId', 'KEYWORD');

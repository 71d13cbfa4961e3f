import { defineSearchAttributeKey } from '@temporalio/common';
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { OrderChange, OrderState } from '../domain/order.ts';

/** The task queue of everything Holdfast runs. */
export const TASK_QUEUE = 'orders';

/** The types of the workflows, as Temporal stores them. */
export const ORDER_WORKFLOW = 'order';

/** The ID of the workflow that keeps trying to send a notification. */
export const notificationWorkflowId = (notificationId: string): string => `notification-${notificationId}`;

/** What may be said with a cancellation. `by` and `expectedVersion` are set by the API. */
export interface CancelRequest {
  reason?: string;
  by?: string;
  expectedVersion?: number;
}

/** Where the order stands. */
export const statusQuery = defineQuery<OrderState>('status');

/** Cancels the order. Its input is whatever an operator typed: anything but a CancelRequest counts as none. */
export const cancelSignal = defineSignal<[request: unknown]>('cancel');

/** Cancels the order and answers how it ended. Fails with a code of domain/errors where that is not possible. */
export const cancelUpdate = defineUpdate<OrderState, [request: unknown]>('cancel');

/** What the API adds to the body of a change. */
export interface ChangeRequest extends OrderChange {
  by?: string;
  expectedVersion?: number;
}

/** Changes the shipping address or the note; takes the body of `PATCH /v1/orders/:id`. */
export const changeShippingAddressUpdate = defineUpdate<OrderState, [request: unknown]>(
  'changeShippingAddress',
);

export const ORDER_STATUS = defineSearchAttributeKey('OrderStatus', 'KEYWORD');
export const CUSTOMER_ID = defineSearchAttributeKey('CustomerId', 'KEYWORD');

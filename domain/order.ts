/** The nouns of an order, as every layer speaks of them. Money is an integer in minor units of `currency`. */

import type { PaymentStatus } from './payments.ts';
import type { OrderStatus } from './states.ts';

export interface Address {
  name: string;
  line1: string;
  line2?: string | undefined;
  city: string;
  region?: string | undefined;
  postalCode: string;
  country: string;
}

/** A line as it was ordered: its name and price are fixed. */
export interface OrderedLine {
  id: string;
  sku: string;
  name: string;
  quantity: number;
  unitPrice: number;
}

/** A line and what has become of its units. */
export interface OrderLine extends OrderedLine {
  total: number;
  cancelledQuantity: number;
  shippedQuantity: number;
  returnedQuantity: number;
}

/** Everything that is fixed when an order is accepted: the input of its workflow and of its placement. */
export interface PlacedOrder {
  orderId: string;
  number: string;
  customerId: string;
  placedBy: string;
  placedAt: string;
  requestHash: string;
  lines: OrderedLine[];
  currency: string;
  total: number;
  shippingAddress: Address;
  payment: { method: 'card'; token: string };
  note?: string | undefined;
  /** The promised time of shipping. Orders of release 0.1 have none. */
  shipBy?: string | undefined;
  /** It is placed: its workflow goes on from there, and need not try. */
  isPlaced?: true;
}

export interface Shortage {
  sku: string;
  requested: number;
  available: number;
}

export type Rejection =
  { code: 'insufficient_stock'; items: Shortage[] } | { code: 'payment_declined'; detail: string };

/** Why and by whom an order was cancelled; `at` is RFC 3339 UTC. */
export interface Cancellation {
  reason: string | null;
  by: string;
  at: string;
}

/** Some units of one line. */
export interface LineUnits {
  lineId: string;
  quantity: number;
}

export const SHIPMENT_STATUSES = ['created', 'in_transit', 'out_for_delivery', 'delivered'] as const;
export type ShipmentStatus = (typeof SHIPMENT_STATUSES)[number];

/** A parcel. `events` are the stations of its way, oldest first. */
export interface Shipment {
  id: string;
  orderId: string;
  carrier: string;
  trackingNumber: string | null;
  status: ShipmentStatus;
  lines: LineUnits[];
  events: { status: ShipmentStatus; at: string }[];
  createdAt: string;
}

/** An order as the API tells it. Times are RFC 3339 UTC. */
export interface Order {
  id: string;
  number: string;
  workflowId: string;
  customerId: string;
  status: OrderStatus;
  paymentStatus: PaymentStatus;
  lines: OrderLine[];
  currency: string;
  subtotal: number;
  total: number;
  shippingAddress: Address;
  rejection?: Rejection;
  cancellation?: Cancellation;
  shipments: Shipment[];
  note?: string;
  version: number;
  createdAt: string;
  updatedAt: string;
}

/** What of a placed order may change until it is shipped; a note of null takes the note away. */
export interface OrderChange {
  shippingAddress?: Address | undefined;
  note?: string | null | undefined;
}

/** What an operator sees: the result of the workflow `order` and the answer of its query `status`. */
export interface OrderState {
  orderId: string;
  status: OrderStatus;
  paymentStatus: PaymentStatus;
  reason?: string;
}

/** The workflow ID of an order. */
export const orderWorkflowId = (orderId: string): string => `order-${orderId}`;

/** The version of an order that is accepted and not settled yet. */
export const PENDING_VERSION = 0;

/** An order that was accepted and is not settled yet, as the API tells it. */
export function pendingOrder(accepted: PlacedOrder): Order {
  return {
    id: accepted.orderId,
    number: accepted.number,
    workflowId: orderWorkflowId(accepted.orderId),
    customerId: accepted.customerId,
    status: 'pending',
    paymentStatus: 'none',
    lines: accepted.lines.map((line) => ({
      ...line,
      total: line.unitPrice * line.quantity,
      cancelledQuantity: 0,
      shippedQuantity: 0,
      returnedQuantity: 0,
    })),
    currency: accepted.currency,
    subtotal: accepted.total,
    total: accepted.total,
    shippingAddress: accepted.shippingAddress,
    shipments: [],
    ...(accepted.note === undefined ? {} : { note: accepted.note }),
    version: PENDING_VERSION,
    createdAt: accepted.placedAt,
    updatedAt: accepted.placedAt,
  };
}

/** The nouns of an order, as every layer speaks of them. Money is an integer in minor units of `currency`. */

export const ORDER_STATUSES = [
  'pending',
  'awaiting_payment',
  'confirmed',
  'partially_shipped',
  'shipped',
  'delivered',
  'rejected',
  'cancelled',
] as const;
export type OrderStatus = (typeof ORDER_STATUSES)[number];

export const PAYMENT_STATUSES = [
  'none',
  'authorized',
  'partially_captured',
  'captured',
  'partially_refunded',
  'refunded',
  'voided',
  'failed',
] as const;
export type PaymentStatus = (typeof PAYMENT_STATUSES)[number];

export interface Address {
  name: string;
  line1: string;
  line2?: string | undefined;
  city: string;
  region?: string | undefined;
  postalCode: string;
  country: string;
}

export interface OrderLine {
  id: string;
  sku: string;
  name: string;
  quantity: number;
  unitPrice: number;
}

/** Everything that is fixed when an order is accepted: the input of its workflow and of its placement. */
export interface PlacedOrder {
  orderId: string;
  number: string;
  customerId: string;
  placedBy: string;
  placedAt: string;
  requestHash: string;
  lines: OrderLine[];
  currency: string;
  total: number;
  shippingAddress: Address;
  payment: { method: 'card'; token: string };
  note?: string | undefined;
}

export interface Shortage {
  sku: string;
  requested: number;
  available: number;
}

export interface Rejection {
  code: 'insufficient_stock';
  items: Shortage[];
}

/** Why and by whom an order was cancelled; `at` is RFC 3339 UTC. */
export interface Cancellation {
  reason: string | null;
  by: string;
  at: string;
}

/** An order as the API tells it. Times are RFC 3339 UTC. */
export interface Order {
  id: string;
  number: string;
  workflowId: string;
  customerId: string;
  status: OrderStatus;
  paymentStatus: PaymentStatus;
  lines: (OrderLine & {
    total: number;
    cancelledQuantity: number;
    shippedQuantity: number;
    returnedQuantity: number;
  })[];
  currency: string;
  subtotal: number;
  total: number;
  shippingAddress: Address;
  rejection?: Rejection;
  cancellation?: Cancellation;
  shipments: [];
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

interface Transition {
  from: readonly OrderStatus[];
  /** The status it leads to; without one the order stays where it is. */
  to?: OrderStatus;
}

/** Which commands are legal in which status, and the status they lead to. */
const TRANSITIONS = {
  cancel: { from: ['pending', 'awaiting_payment', 'confirmed'], to: 'cancelled' },
  change: { from: ['pending', 'awaiting_payment', 'confirmed', 'partially_shipped'] },
} as const satisfies Record<string, Transition>;

export type OrderCommand = keyof typeof TRANSITIONS;

/**
 * Judges a command against the state table: `apply` it, it is a `repeat` of the step already taken, or it is
 * `illegal` now.
 */
export function judge(command: OrderCommand, status: OrderStatus): 'apply' | 'repeat' | 'illegal' {
  const { from, to }: Transition = TRANSITIONS[command];
  if (status === to) return 'repeat';
  return from.includes(status) ? 'apply' : 'illegal';
}

/** The workflow ID of an order. */
export const orderWorkflowId = (orderId: string): string => `order-${orderId}`;

/** The version of an order that is accepted and not placed yet. */
export const PENDING_VERSION = 0;

/** An order that was accepted and has not been placed yet, as the API tells it. */
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

/** An accepted order after its placement, as the API tells it. */
export function settledOrder(
  accepted: PlacedOrder,
  outcome: Pick<Order, 'number' | 'status' | 'version' | 'updatedAt'> & {
    rejection: Rejection | null;
    cancellation: Cancellation | null;
  },
): Order {
  const { number, status, version, updatedAt, rejection, cancellation } = outcome;
  const order = pendingOrder(accepted);
  return {
    ...order,
    number,
    status,
    lines: order.lines.map((line) =>
      status === 'cancelled' ? { ...line, cancelledQuantity: line.quantity } : line,
    ),
    ...(rejection && { rejection }),
    ...(cancellation && { cancellation }),
    version,
    updatedAt,
  };
}

/** An order in one of these statuses changes no more. */
export const isFinal = (status: OrderStatus): boolean =>
  status === 'rejected' || status === 'cancelled' || status === 'delivered';

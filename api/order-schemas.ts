import { z } from 'zod';
import { SHIPMENT_STATUSES } from '../domain/order.ts';
import { PAYMENT_STATUSES, PAYMENT_TYPES } from '../domain/payments.ts';
import { RETURN_STATUSES } from '../domain/returns.ts';
import { ORDER_STATUSES } from '../domain/states.ts';
import { address, currency, money, prose, sku, sum, text, timestamp, uuid } from './schemas.ts';

const quantity = z.int().min(1).max(10_000);

/** The body of `POST /v1/orders`. */
export const placeOrder = z
  .strictObject({
    customerId: uuid.optional().meta({ description: 'Staff must name one; a customer may only name itself' }),
    lines: z.array(z.strictObject({ sku, quantity })).min(1).max(100),
    shippingAddress: address,
    payment: z.strictObject({ method: z.literal('card'), token: text(200) }),
    expectedTotal: sum
      .optional()
      .meta({ description: 'Refuse the order (409) if it would cost anything else' }),
    note: prose(2000).optional(),
  })
  .meta({ id: 'PlaceOrder' });
export type PlaceOrderRequest = z.output<typeof placeOrder>;

const units = z
  .array(z.strictObject({ lineId: uuid, quantity }))
  .min(1)
  .max(100);

/** The body of `POST /v1/orders/:id/cancel`. */
export const cancelOrder = z
  .strictObject({
    reason: prose(500).optional(),
    lines: units.optional().meta({ description: 'Single units; without it everything that is not shipped' }),
  })
  .meta({ id: 'CancelOrder' });

/** The body of `POST /v1/orders/:id/shipments`. */
export const createShipment = z
  .strictObject({
    carrier: text(100),
    trackingNumber: text(100).optional().meta({ description: 'Without it the carrier gives one' }),
    lines: units.optional().meta({ description: 'Without it everything that is not shipped' }),
  })
  .meta({ id: 'CreateShipment' });

/** The body of `PATCH /v1/shipments/:id`. */
export const changeShipment = z
  .strictObject({
    status: z.enum(['in_transit', 'out_for_delivery', 'delivered']).optional(),
    trackingNumber: text(100).optional(),
  })
  .refine((change) => Object.keys(change).length > 0, 'Name a status, a trackingNumber, or both')
  .meta({ id: 'ChangeShipment', minProperties: 1 });

const someUnits = z.array(z.object({ lineId: z.guid(), quantity: z.int() }));

/** A shipment, as every endpoint answers it. */
export const shipment = z
  .object({
    id: z.guid(),
    orderId: z.guid(),
    carrier: z.string(),
    trackingNumber: z.string().nullable(),
    status: z.enum(SHIPMENT_STATUSES),
    lines: someUnits,
    events: z.array(z.object({ status: z.enum(SHIPMENT_STATUSES), at: timestamp })),
    createdAt: timestamp,
  })
  .meta({ id: 'Shipment' });

/** A movement of money. */
export const payment = z
  .object({
    id: z.guid(),
    type: z.enum(PAYMENT_TYPES),
    status: z.enum(['pending', 'succeeded', 'failed']),
    amount: sum,
    currency,
    provider: z.string(),
    reason: z.string().optional(),
    createdAt: timestamp,
  })
  .meta({ id: 'Payment' });

/** The body of `POST /v1/orders/:id/refunds`. */
export const createRefund = z
  .strictObject({ amount: sum.min(1), reason: prose(500).min(1) })
  .meta({ id: 'CreateRefund' });

/** The body of `POST /v1/orders/:id/returns`. */
export const createReturn = z
  .strictObject({ lines: units, reason: prose(500).min(1) })
  .meta({ id: 'CreateReturn' });

/** A return, as every endpoint answers it. */
export const orderReturn = z
  .object({
    id: z.guid(),
    orderId: z.guid(),
    status: z.enum(RETURN_STATUSES),
    lines: someUnits,
    reason: z.string(),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: 'Return' });

/** The `:id` of a path that names a shipment or a return. */
export const uuidId = z.object({ id: uuid });

const orderLine = z.object({
  id: z.guid(),
  sku: z.string(),
  name: z.string(),
  quantity: z.int(),
  unitPrice: money,
  total: sum,
  cancelledQuantity: z.int(),
  shippedQuantity: z.int(),
  returnedQuantity: z.int(),
});

/** The body of `PATCH /v1/orders/:id`. */
export const changeOrder = z
  .strictObject({ shippingAddress: address.optional(), note: prose(2000).nullable().optional() })
  .refine((change) => Object.keys(change).length > 0, 'Name a shippingAddress, a note, or both')
  .meta({ id: 'ChangeOrder', minProperties: 1 });

/** An order, as every endpoint answers it. */
export const order = z
  .object({
    id: z.guid(),
    number: z.string(),
    workflowId: z.string(),
    customerId: z.guid(),
    status: z.enum(ORDER_STATUSES),
    paymentStatus: z.enum(PAYMENT_STATUSES),
    lines: z.array(orderLine),
    currency,
    subtotal: sum,
    total: sum,
    shippingAddress: address,
    rejection: z
      .union([
        z.object({
          code: z.literal('insufficient_stock'),
          items: z.array(z.object({ sku: z.string(), requested: z.int(), available: z.int() })),
        }),
        z.object({ code: z.literal('payment_declined'), detail: z.string() }),
      ])
      .optional(),
    cancellation: z.object({ reason: z.string().nullable(), by: z.string(), at: timestamp }).optional(),
    shipments: z.array(shipment),
    note: z.string().optional(),
    version: z.int(),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: 'Order' });

/** An entry of an order's timeline. */
export const orderEvent = z
  .object({
    seq: z.int(),
    type: z.string(),
    at: timestamp,
    actor: z.string(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'OrderEvent' });

/** How an order's number looks; see domain/ids. */
export const ORDER_NUMBER = /^[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{5,6}-[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{5,6}$/;
/** The `:id` of a path: the id or the number of an order. */
export const orderId = z.object({
  id: z.union([
    uuid,
    z
      .string()
      .regex(ORDER_NUMBER)
      .transform((number) => number.toUpperCase()),
  ]),
});

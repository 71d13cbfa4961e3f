import { z } from 'zod';
import { ORDER_STATUSES, PAYMENT_STATUSES } from '../domain/order.ts';
import { address, currency, money, prose, sku, text, timestamp, uuid } from './schemas.ts';

const quantity = z.int().min(1).max(10_000);

/** The body of `POST /v1/orders`. */
export const placeOrder = z
  .strictObject({
    customerId: uuid.optional().meta({ description: 'Staff must name one; a customer may only name itself' }),
    lines: z.array(z.strictObject({ sku, quantity })).min(1).max(100),
    shippingAddress: address,
    payment: z.strictObject({ method: z.literal('card'), token: text(200) }),
    expectedTotal: money
      .optional()
      .meta({ description: 'Refuse the order (409) if it would cost anything else' }),
    note: prose(2000).optional(),
  })
  .meta({ id: 'PlaceOrder' });
export type PlaceOrderRequest = z.output<typeof placeOrder>;

/** The body of `POST /v1/orders/:id/cancel`. */
export const cancelOrder = z.strictObject({ reason: prose(500).optional() }).meta({ id: 'CancelOrder' });

const orderLine = z.object({
  id: z.guid(),
  sku: z.string(),
  name: z.string(),
  quantity: z.int(),
  unitPrice: money,
  total: money,
  cancelledQuantity: z.int(),
  shippedQuantity: z.int(),
  returnedQuantity: z.int(),
});

/** The body of `PATCH /v1/orders/:id`. */
export const changeOrder = z
  .strictObject({ shippingAddress: address.optional(), note: prose(2000).nullable().optional() })
  .refine((change) => Object.keys(change).length > 0, 'Name a shippingAddress, a note, or both')
  .meta({ id: 'ChangeOrder' });

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
    subtotal: money,
    total: money,
    shippingAddress: address,
    rejection: z
      .object({
        code: z.literal('insufficient_stock'),
        items: z.array(z.object({ sku: z.string(), requested: z.int(), available: z.int() })),
      })
      .optional(),
    cancellation: z.object({ reason: z.string().nullable(), by: z.string(), at: timestamp }).optional(),
    shipments: z.array(z.object({ id: z.guid() })),
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

import { z } from 'zod';
import { address, currency, prose, sum, text } from './schemas.ts';

const line = z.strictObject({ name: text(200), quantity: z.int().min(1), total: sum });
const units = z.array(z.strictObject({ name: text(200), quantity: z.int().min(1) })).max(100);

const shortage = z.strictObject({ sku: text(64), requested: z.int(), available: z.int() });
const order = z.strictObject({
  number: text(20),
  currency,
  total: sum,
  lines: z.array(line).min(1).max(100),
  shippingAddress: address,
});
const customerName = text(200);
const stock = { sku: text(64), name: text(200), available: z.int(), threshold: z.int() };

const aLine = { name: 'Wireless mouse', quantity: 2, total: 5998 };
const anOrder = {
  number: 'ABCDE-12345',
  currency: 'USD',
  total: 5998,
  lines: [aLine],
  shippingAddress: {
    name: 'John Smith',
    line1: '1 Main Street',
    city: 'Springfield',
    postalCode: '12345',
    country: 'US',
  },
};
const customer = { customerName: 'John Smith' };
const someStock = { sku: 'MOUSE-WL', name: 'Wireless mouse', available: 3, threshold: 5 };

const declined = { detail: 'The card was declined.' };
const short = { items: [{ sku: 'MOUSE-WL', requested: 2, available: 1 }] };

/** What each template needs to know, with an example. Every one has a wording for every channel in every language. */
const templates = {
  'order-confirmed': {
    variables: z.strictObject({ customerName, order }),
    example: { ...customer, order: anOrder },
  },
  'order-rejected': {
    variables: z.strictObject({
      customerName,
      order: order.extend({ rejection: z.strictObject({ items: z.array(shortage).max(100) }) }),
    }),
    example: { ...customer, order: { ...anOrder, rejection: short } },
  },
  'order-cancelled': {
    variables: z.strictObject({
      customerName,
      order: order.extend({ cancellation: z.strictObject({ reason: text(500).nullable() }) }),
      units: units.optional(),
      reason: text(500).optional(),
    }),
    example: { ...customer, order: { ...anOrder, cancellation: { reason: 'changed my mind' } } },
  },
  'order-shipped': {
    variables: z.strictObject({
      customerName,
      order,
      carrier: text(100),
      trackingNumber: text(100).nullish(),
      units,
    }),
    example: {
      ...customer,
      order: anOrder,
      carrier: 'UPS',
      trackingNumber: '1Z999',
      units: [{ name: aLine.name, quantity: aLine.quantity }],
    },
  },
  'order-delivered': {
    variables: z.strictObject({ customerName, order }),
    example: { ...customer, order: anOrder },
  },
  'payment-failed': {
    variables: z.strictObject({
      customerName,
      order: order.extend({ rejection: z.strictObject({ detail: text(500) }).optional() }),
    }),
    example: { ...customer, order: { ...anOrder, rejection: declined } },
  },
  'return-updated': {
    variables: z.strictObject({
      customerName,
      order,
      returnStatus: z.enum(['requested', 'approved', 'rejected', 'received', 'refunded']),
    }),
    example: { ...customer, order: anOrder, returnStatus: 'approved' },
  },
  'cart-reminder': {
    variables: z.strictObject({
      name: text(200).optional(),
      items: z.array(line).min(1).max(100),
      currency,
      total: sum,
    }),
    example: { name: 'John Smith', items: [aLine], currency: 'USD', total: 5998 },
  },
  'low-stock': { variables: z.strictObject(stock), example: someStock },
  'back-in-stock': { variables: z.strictObject(stock), example: { ...someStock, available: 20 } },
  message: {
    variables: z.strictObject({ subject: text(200), text: prose(10_000).min(1) }),
    example: { subject: 'Good news', text: 'The shop opens earlier on Monday.' },
  },
} satisfies Record<string, { variables: z.ZodObject; example: Record<string, unknown> }>;

export type TemplateName = keyof typeof templates;

export const TEMPLATE_NAMES = Object.keys(templates).toSorted() as [TemplateName, ...TemplateName[]];

export const templateOf = (
  name: TemplateName,
): { variables: z.ZodObject; example: Record<string, unknown> } => templates[name];

/** The names of the variables that a template cannot do without. */
export const neededBy = (name: TemplateName): string[] =>
  Object.entries(templateOf(name).variables.shape)
    .filter(([, schema]) => !(schema as z.ZodType).safeParse(undefined).success)
    .map(([variable]) => variable);

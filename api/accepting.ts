import type { Price, Quote } from '../db/products.ts';
import { invalidField, OrderPlatformError } from '../domain/errors.ts';
import { lineIdFor, orderNumber } from '../domain/ids.ts';
import type { PlacedOrder } from '../domain/order.ts';
import type { PlaceOrderRequest } from './order-schemas.ts';

export interface Acceptable {
  orderId: string;
  requestHash: string;
  customerId: string;
  placedBy: string;
  request: PlaceOrderRequest;
  quote: Quote;
  expectedCurrency?: string | null;
  shipWithinMs: number;
}

/** Fixes names, prices and the total. Throws `validation_failed` or `price_changed`. */
export function acceptOrder({
  orderId,
  requestHash,
  customerId,
  placedBy,
  request,
  quote,
  expectedCurrency,
  shipWithinMs,
}: Acceptable): PlacedOrder {
  const prices = new Map(quote.prices.map((price) => [price.sku, price]));
  const errors = request.lines.flatMap((line, index) =>
    prices.has(line.sku)
      ? []
      : [{ pointer: `/lines/${index}/sku`, detail: `There is no product ${line.sku}.` }],
  );
  if (request.lines.length === 0) errors.push({ pointer: '/lines', detail: 'An order has a line.' });
  if (!quote.customerExists) errors.push({ pointer: '/customerId', detail: 'There is no such customer.' });
  const currencies = request.lines.map((line) => prices.get(line.sku)?.currency);
  const currency = expectedCurrency ?? currencies.find((known) => known !== undefined);
  const other = currencies.findIndex((known) => known !== undefined && known !== currency);
  if (other !== -1) {
    const detail = `One order has one currency, this one ${currency}; ${request.lines[other]!.sku} costs ${currencies[other]}.`;
    errors.push({ pointer: `/lines/${other}/sku`, detail });
  }
  const first = errors[0];
  if (first)
    throw new OrderPlatformError('validation_failed', `${first.pointer}: ${first.detail}`, { errors });

  const quantities = new Map<string, number>();
  for (const { sku, quantity } of request.lines) quantities.set(sku, (quantities.get(sku) ?? 0) + quantity);
  const lines = [...quantities].map(([sku, quantity]) => {
    const { name, price } = prices.get(sku) as Price;
    return { id: lineIdFor(orderId, sku), sku, name, quantity, unitPrice: price };
  });
  const total = lines.reduce((sum, line) => sum + line.unitPrice * line.quantity, 0);
  if (!Number.isSafeInteger(total)) {
    throw invalidField('/lines', 'The total is more than an order can have.');
  }
  if (request.expectedTotal !== undefined && request.expectedTotal !== total) {
    throw new OrderPlatformError(
      'price_changed',
      `The total is ${total} now, not ${request.expectedTotal}.`,
      {
        extra: { total },
      },
    );
  }
  const placedAt = new Date();
  return {
    orderId,
    number: orderNumber(orderId),
    customerId,
    placedBy,
    placedAt: placedAt.toISOString(),
    requestHash,
    lines,
    currency: currency!,
    total,
    shippingAddress: request.shippingAddress,
    payment: request.payment,
    ...(request.note ? { note: request.note } : {}),
    shipBy: new Date(placedAt.getTime() + shipWithinMs).toISOString(),
  };
}

import type { Db } from '../db/connect.ts';
import { findOrder, findOrderRecord, recordRestart } from '../db/orders.ts';
import { type Price, quoteOrder } from '../db/products.ts';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import { lineIdFor, orderIdFor, orderNumber } from '../domain/ids.ts';
import { type Order, pendingOrder, type PlacedOrder } from '../domain/order.ts';
import { toOrder, toPlacedOrder } from '../domain/record.ts';
import type { Outcomes } from './outcomes.ts';
import { requestHashOf } from './preconditions.ts';
import type { PlaceOrderRequest } from './order-schemas.ts';
import { actorOf, type Caller } from './tokens.ts';

export interface PlacingRequest {
  caller: Caller;
  key: string;
  route: string;
  request: PlaceOrderRequest;
  waitMs: number;
}

/**
 * Accepts an order, starts its workflow and waits up to `waitMs` for the outcome. The same caller, route and key give
 * the same order again (`replayed`), or `idempotency_key_reused` for another request.
 */
export type PlaceOrder = (wanted: PlacingRequest) => Promise<{ order: Order; replayed: boolean }>;

export interface PlacingDeps {
  db: Db;
  workflows: OrderWorkflows;
  outcomes: Outcomes;
  /** The time within which an order is promised to be shipped. */
  shipWithinMs: number;
}

/** Another process may have announced an outcome just before a replay began to listen: it looks once after so long. */
const FIRST_LOOK_MS = 500;

export function createPlacing({ db, workflows, outcomes, shipWithinMs }: PlacingDeps): PlaceOrder {
  /** The order is accepted: that its outcome cannot be read now is no reason to refuse it. */
  const lastLook = (orderId: string) => findOrder(db, orderId).catch(() => undefined);

  /** Hears the outcome of what `begin` begins; undefined where it says that it began nothing. */
  const awaitOutcome = async (
    accepted: PlacedOrder,
    waitMs: number,
    begin: () => Promise<boolean>,
  ): Promise<Order | undefined> => {
    const outcome = outcomes.expect(accepted.orderId);
    try {
      if (!(await begin())) return undefined;
      const settled = (await outcome.wait(waitMs)) ?? (waitMs > 0 && (await lastLook(accepted.orderId)));
      return settled || pendingOrder(accepted);
    } finally {
      outcome.forget();
    }
  };

  /**
   * Answers a request whose order was accepted before: as it is now, waiting for its outcome where there is none yet.
   * A workflow that ended before it settled its order (terminated, say) is started again.
   */
  const replay = async (orderId: string, requestHash: string, waitMs: number): Promise<Order | undefined> => {
    const record = await findOrderRecord(db, orderId);
    const accepted = record ? toPlacedOrder(record) : await workflows.findAccepted(orderId);
    if (!accepted) return undefined;
    if (accepted.requestHash !== requestHash) {
      throw new OrderPlatformError(
        'idempotency_key_reused',
        'This Idempotency-Key was used for an order with another body.',
      );
    }
    if (record && record.status !== 'pending') return toOrder(record);
    const awaited = await awaitOutcome(accepted, Math.min(waitMs, FIRST_LOOK_MS), async () => {
      if ((await workflows.restart(accepted)) && record) await recordRestart(db, orderId);
      return true;
    });
    if (awaited?.status !== 'pending' || waitMs <= FIRST_LOOK_MS) return awaited;
    return await awaitOutcome(accepted, waitMs - FIRST_LOOK_MS, async () => true);
  };

  return async ({ caller, key, route, request, waitMs }) => {
    const orderId = orderIdFor(caller.id, route, key);
    const requestHash = requestHashOf(request);
    const again = async () => {
      const order = await replay(orderId, requestHash, waitMs);
      return order && { order, replayed: true };
    };

    const customerId = customerOf(caller, request);
    const skus = [...new Set(request.lines.map((line) => line.sku))];
    const quote = await quoteOrder(db, { orderId, customerId, skus });
    if (quote.requestHash !== null) return (await again())!;

    let accepted: PlacedOrder;
    try {
      const placedBy = actorOf(caller);
      accepted = accept({ orderId, requestHash, customerId, placedBy, request, quote, shipWithinMs });
    } catch (error) {
      // What was accepted before stays accepted, whatever the catalogue says now.
      const before = await again();
      if (before) return before;
      throw error;
    }

    const order = await awaitOutcome(accepted, waitMs, () => workflows.start(accepted));
    if (order) return { order, replayed: false };
    return (await again()) ?? { order: pendingOrder(accepted), replayed: true };
  };
}

function customerOf(caller: Caller, request: PlaceOrderRequest): string {
  if (caller.role !== 'customer') {
    if (request.customerId !== undefined) return request.customerId;
    throw new OrderPlatformError('validation_failed', '/customerId: Staff must say whose order it is.', {
      errors: [{ pointer: '/customerId', detail: 'Staff must say whose order it is.' }],
    });
  }
  if (request.customerId === undefined || request.customerId === caller.id) return caller.id;
  throw new OrderPlatformError('forbidden', 'A customer orders for itself only.');
}

interface Acceptable {
  orderId: string;
  requestHash: string;
  customerId: string;
  placedBy: string;
  request: PlaceOrderRequest;
  quote: Awaited<ReturnType<typeof quoteOrder>>;
  shipWithinMs: number;
}

/** Fixes names, prices and the total. Throws `validation_failed` or `price_changed`. */
function accept({
  orderId,
  requestHash,
  customerId,
  placedBy,
  request,
  quote,
  shipWithinMs,
}: Acceptable): PlacedOrder {
  const prices = new Map(quote.prices.map((price) => [price.sku, price]));
  const errors = request.lines.flatMap((line, index) =>
    prices.has(line.sku)
      ? []
      : [{ pointer: `/lines/${index}/sku`, detail: `There is no product ${line.sku}.` }],
  );
  if (!quote.customerExists) errors.push({ pointer: '/customerId', detail: 'There is no such customer.' });
  const currencies = new Set(quote.prices.map((price) => price.currency));
  if (currencies.size > 1) {
    errors.push({
      pointer: '/lines',
      detail: `One order has one currency, not ${[...currencies].join(' and ')}.`,
    });
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
    currency: [...currencies][0]!,
    total,
    shippingAddress: request.shippingAddress,
    payment: request.payment,
    ...(request.note ? { note: request.note } : {}),
    shipBy: new Date(placedAt.getTime() + shipWithinMs).toISOString(),
  };
}

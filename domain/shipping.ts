import { OrderPlatformError } from './errors.ts';
import { isUnpayable } from './payments.ts';
import type { LineUnits, Shipment, ShipmentStatus } from './order.ts';
import { chooseUnits, openUnits, type OrderRecord, type Step, unitsBySku } from './record.ts';
import { assertLegal, isLegal } from './states.ts';

export interface ShipCommand {
  shipmentId: string;
  carrier: string;
  trackingNumber?: string | undefined;
  /** Without them every unit that is not shipped yet. */
  lines?: LineUnits[] | undefined;
  by: string;
  at: string;
}

/**
 * Hands units to a carrier: they leave the stock, and their price is captured. Undefined where this very shipment was
 * made before; throws `invalid_transition`, `validation_failed` and `not_enough_units`.
 */
export function ship(order: OrderRecord, command: ShipCommand): Step | undefined {
  const { shipmentId, carrier, trackingNumber, by, at } = command;
  if (order.shipments.some(({ id }) => id === shipmentId)) return undefined;
  assertLegal('ship', order.status);
  if (isUnpayable(order)) {
    throw new OrderPlatformError(
      'payment_failed',
      'The payment of this order failed: it is not shipped on.',
      {
        extra: { currentStatus: order.status },
      },
    );
  }
  const lines = chooseUnits(order, command.lines, openUnits(order));
  if (lines.length === 0) throw new OrderPlatformError('not_enough_units', 'No unit is left to be shipped.');
  const shipment: Shipment = {
    id: shipmentId,
    orderId: order.id,
    carrier,
    trackingNumber: trackingNumber ?? null,
    status: 'created',
    lines,
    events: [{ status: 'created', at }],
    createdAt: at,
  };
  return {
    by,
    at,
    units: { fate: 'shipped', of: lines },
    shipments: [shipment],
    events: [
      {
        type: 'shipment.created',
        data: {
          shipmentId,
          carrier,
          trackingNumber: shipment.trackingNumber,
          items: unitsBySku(order, lines),
        },
      },
    ],
    messages: [
      {
        event: 'shipment.created',
        of: shipmentId,
        template: 'order-shipped',
        to: 'customer',
        variables: {
          carrier,
          trackingNumber: shipment.trackingNumber,
          units: lines.map(({ lineId, quantity }) => ({
            quantity,
            name: order.lines.find(({ id }) => id === lineId)?.name ?? '',
          })),
        },
      },
    ],
  };
}

/**
 * The shipment that a command asks for and that is there already: by its id, or, where nothing is left to ship, by what
 * it says.
 */
export function sameShipment(order: OrderRecord, command: ShipCommand): Shipment | undefined {
  const made = order.shipments.find(({ id }) => id === command.shipmentId);
  if (made || openUnits(order).length > 0) return made;
  return order.shipments.findLast(
    ({ carrier, trackingNumber, lines }) =>
      carrier === command.carrier &&
      (command.trackingNumber === undefined || trackingNumber === command.trackingNumber) &&
      (command.lines === undefined || equalUnits(lines, command.lines)),
  );
}

const equalUnits = (left: LineUnits[], right: LineUnits[]): boolean =>
  left.length === right.length &&
  left.every((units) =>
    right.some(({ lineId, quantity }) => lineId === units.lineId && quantity === units.quantity),
  );

export interface DeliverCommand {
  /** Without one every shipment that is under way. */
  shipmentId?: string | undefined;
  by: string;
  at: string;
}

/**
 * Records that shipments have arrived. Undefined where they had before; throws `invalid_transition` where nothing was
 * shipped, and `not_found` for a shipment that is not the order's.
 */
export function deliver(order: OrderRecord, { shipmentId, by, at }: DeliverCommand): Step | undefined {
  const meant = order.shipments.filter(({ id }) => shipmentId === undefined || id === shipmentId);
  if (shipmentId !== undefined && meant.length === 0) {
    throw new OrderPlatformError('not_found', 'The order has no such shipment.');
  }
  const arriving = meant.filter(({ status }) => status !== 'delivered');
  if (arriving.length === 0 && meant.length > 0) return undefined;
  assertLegal('deliver', order.status);
  return {
    by,
    at,
    shipments: arriving.map((shipment) => stationOf(shipment, 'delivered', at)),
    events: arriving.map(({ id }) => ({ type: 'shipment.delivered', data: { shipmentId: id } })),
    messages: arriving.map(({ id }) => ({
      event: 'shipment.delivered',
      of: id,
      template: 'order-delivered',
      to: 'customer',
    })),
  };
}

export interface TrackCommand {
  shipmentId: string;
  status?: Exclude<ShipmentStatus, 'created' | 'delivered'> | undefined;
  trackingNumber?: string | undefined;
  by: string;
  at: string;
}

/** How far on its way a shipment is. */
export const WAY: Record<ShipmentStatus, number> = {
  created: 0,
  in_transit: 1,
  out_for_delivery: 2,
  delivered: 3,
};

/**
 * Records where a shipment is, or its tracking number. News that are older than what is known change nothing, because
 * carriers tell them twice and in any order.
 */
export function track(order: OrderRecord, command: TrackCommand): Step | undefined {
  const { shipmentId, status, trackingNumber, by, at } = command;
  const shipment = order.shipments.find(({ id }) => id === shipmentId);
  if (!shipment) throw new OrderPlatformError('not_found', 'There is no such shipment.');
  const moves = status !== undefined && WAY[status] > WAY[shipment.status];
  const renamed = trackingNumber !== undefined && trackingNumber !== shipment.trackingNumber;
  if (!moves && !renamed) return undefined;
  const moved = moves ? stationOf(shipment, status, at) : shipment;
  return {
    by,
    at,
    shipments: [{ ...moved, ...(renamed && { trackingNumber }) }],
    events: [
      {
        type: 'shipment.updated',
        data: { shipmentId, ...(moves && { status }), ...(renamed && { trackingNumber }) },
      },
    ],
  };
}

const stationOf = (shipment: Shipment, status: ShipmentStatus, at: string): Shipment => ({
  ...shipment,
  status,
  events: [...shipment.events, { status, at }],
});

/** Tells the stock manager at `email`, once, of an order that was not shipped in the promised time. */
export function reportLate(order: OrderRecord, email: string, at: string): Step | undefined {
  if (!isLegal('ship', order.status) || order.shipBy === null) return undefined;
  return {
    by: 'system',
    at,
    commandId: order.id,
    events: [{ type: 'order.overdue', data: { shipBy: order.shipBy } }],
    messages: [
      {
        event: 'order.overdue',
        template: 'message',
        to: { email },
        variables: {
          subject: `Order ${order.number} is late`,
          text: `Order ${order.number} was promised to be shipped by ${order.shipBy} and is ${order.status.replaceAll('_', ' ')}.`,
        },
      },
    ],
  };
}

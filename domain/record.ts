import { invalidField, OrderPlatformError } from './errors.ts';
import {
  type Cancellation,
  type LineUnits,
  type Order,
  type OrderLine,
  orderWorkflowId,
  type PlacedOrder,
  type Rejection,
  type Shipment,
} from './order.ts';
import { type Payment, moneyThatFollows, paymentStatusOf } from './payments.ts';
import type { Return } from './returns.ts';
import { leadsTo, type OrderStatus } from './states.ts';

/** A line with what it holds of the stock. */
export interface RecordLine extends OrderLine {
  reservedQuantity: number;
}

/** All that is known of an order: what a step is decided on. */
export interface OrderRecord extends Omit<Order, 'lines' | 'workflowId' | 'subtotal'> {
  lines: RecordLine[];
  payments: Payment[];
  returns: Return[];
  placedBy: string;
  requestHash: string;
  paymentToken: string;
  /** The payment company this order pays through. */
  provider: string;
  /** Until when an `awaiting_payment` order waits. */
  payBy: string | null;
  shipBy: string | null;
  /** Counts the steps; a step is taken only on the record it was decided on. */
  step: number;
}

/** What units of a line may go through. */
export type Fate = 'cancelled' | 'rejected' | 'shipped' | 'returned';

interface FateEffect {
  movement: 'release' | 'shipment' | 'return';
  /** What one unit adds to what its line and the stock hold reserved, and to what is on hand. */
  reserved: -1 | 0;
  onHand: -1 | 0 | 1;
  counter?: 'cancelledQuantity' | 'shippedQuantity' | 'returnedQuantity';
}

/** What each fate does to stock and line: the whole arithmetic of units. */
export const FATES: Record<Fate, FateEffect> = {
  cancelled: { movement: 'release', reserved: -1, onHand: 0, counter: 'cancelledQuantity' },
  rejected: { movement: 'release', reserved: -1, onHand: 0 },
  shipped: { movement: 'shipment', reserved: -1, onHand: -1, counter: 'shippedQuantity' },
  returned: { movement: 'return', reserved: 0, onHand: 1, counter: 'returnedQuantity' },
};

export interface NewEvent {
  type: string;
  /** Without one it is the step's. */
  actor?: string;
  data?: Record<string, unknown>;
}

/** Something to tell, once for each event of an order; `of` tells apart events of one type. */
export interface Message {
  event: string;
  of?: string;
  template: string;
  to: 'customer' | { email: string };
  variables?: Record<string, unknown>;
}

/** What a decision changes of an order, written in one transaction or not at all. */
export interface Step {
  by: string;
  at: string;
  /** Makes the step one that is taken once, however often its command comes. */
  commandId?: string | undefined;
  set?: {
    status?: OrderStatus;
    rejection?: Rejection;
    cancellation?: Cancellation;
    shippingAddress?: Order['shippingAddress'];
    note?: string | null;
    payBy?: string;
  };
  units?: { fate: Fate; of: LineUnits[] };
  /** New and changed ones, whole. */
  payments?: Payment[];
  shipments?: Shipment[];
  returns?: Return[];
  events: NewEvent[];
  messages?: Message[];
}

/** A step with what follows from it, and the order as it is after it. */
export interface TakenStep {
  step: Step;
  after: OrderRecord;
}

/**
 * Applies a step to the record it was decided on, and adds what follows: the status its units lead to, the movement of
 * money that follows them or a new authorization, the payment status and the next version.
 */
export function take(before: OrderRecord, step: Step): TakenStep {
  const { units, set = {}, payments = [], shipments = [], returns = [] } = step;
  const { note, ...rest } = set;
  const after: OrderRecord = {
    ...before,
    ...rest,
    lines: units ? moveUnits(before.lines, units) : before.lines,
    payments: merge(before.payments, payments),
    shipments: merge(before.shipments, shipments),
    returns: merge(before.returns, returns),
    ...(!isOnlyTold(step) && { version: before.version + 1, updatedAt: step.at }),
    step: before.step + 1,
  };
  if (note === null || note === '') delete after.note;
  else if (note !== undefined) after.note = note;
  if (units || shipments.length > 0) after.status = statusAfter(after);
  if (!leadsTo(before.status, after.status)) {
    throw new Error(`No step leads from ${before.status} to ${after.status}.`);
  }

  const authorized = payments.some(({ type, status }) => type === 'authorization' && status === 'succeeded');
  const following = units || authorized ? moneyThatFollows(after, step.at) : undefined;
  if (following) after.payments = [...after.payments, following];
  after.paymentStatus = paymentStatusOf(after);
  return { after, step: following ? { ...step, payments: [...payments, following] } : step };
}

/** Whether a step changes nothing of the order: somebody is told something. */
const isOnlyTold = ({ set, units, payments, shipments, returns }: Step): boolean =>
  [set, units, payments, shipments, returns].every((change) => change === undefined);

/** The status that the fate of its units gives an order. */
function statusAfter({ status, lines, shipments }: OrderRecord): OrderStatus {
  const units = (read: (line: RecordLine) => number) => lines.reduce((sum, line) => sum + read(line), 0);
  const shipped = units((line) => line.shippedQuantity);
  const open = units((line) => line.reservedQuantity);
  if (status === 'rejected') return status;
  if (shipped === 0) return open === 0 ? 'cancelled' : status;
  if (open > 0) return 'partially_shipped';
  return shipped === deliveredUnits(shipments) ? 'delivered' : 'shipped';
}

const deliveredUnits = (shipments: Shipment[]): number =>
  shipments
    .filter(({ status }) => status === 'delivered')
    .flatMap(({ lines }) => lines)
    .reduce((sum, { quantity }) => sum + quantity, 0);

const moveUnits = (lines: RecordLine[], { fate, of }: NonNullable<Step['units']>): RecordLine[] => {
  const { reserved, counter } = FATES[fate];
  return lines.map((line) => {
    const quantity = of.find(({ lineId }) => lineId === line.id)?.quantity ?? 0;
    return {
      ...line,
      reservedQuantity: line.reservedQuantity + reserved * quantity,
      ...(counter && { [counter]: line[counter] + quantity }),
    };
  });
};

function merge<T extends { id: string }>(before: T[], changed: T[]): T[] {
  const added = changed.filter(({ id }) => !before.some((one) => one.id === id));
  return [...before.map((one) => changed.find(({ id }) => id === one.id) ?? one), ...added];
}

/** The units of an order that still hold stock: neither cancelled nor shipped. */
export const openUnits = ({ lines }: OrderRecord): LineUnits[] =>
  lines
    .filter((line) => line.reservedQuantity > 0)
    .map((line) => ({ lineId: line.id, quantity: line.reservedQuantity }));

/**
 * The units that a command names, one entry a line, each within what `available` says is left of its line; all that is
 * left where the command names none. Throws `validation_failed` for a line that is not the order's, and
 * `not_enough_units`.
 */
export function chooseUnits(
  order: OrderRecord,
  named: LineUnits[] | undefined,
  available: LineUnits[],
): LineUnits[] {
  if (!named) return available;
  const chosen = new Map<string, number>();
  for (const [index, { lineId, quantity }] of named.entries()) {
    const line = order.lines.find(({ id }) => id === lineId);
    const left = available.find((units) => units.lineId === lineId)?.quantity ?? 0;
    const total = (chosen.get(lineId) ?? 0) + quantity;
    if (!line) {
      throw invalidField(`/lines/${index}/lineId`, 'The order has no such line.');
    }
    if (total > left) {
      throw new OrderPlatformError(
        'not_enough_units',
        `Only ${left} of ${line.sku} are left, not ${total}.`,
        {
          extra: { currentStatus: order.status, lineId, left },
        },
      );
    }
    chosen.set(lineId, total);
  }
  return [...chosen].map(([lineId, quantity]) => ({ lineId, quantity }));
}

/** The units as timelines tell them. */
export const unitsBySku = (order: OrderRecord, units: LineUnits[]): { sku: string; quantity: number }[] =>
  order.lines.flatMap(({ id, sku }) =>
    units.filter(({ lineId }) => lineId === id).map(({ quantity }) => ({ sku, quantity })),
  );

type MayBeMissing = 'note' | 'rejection' | 'cancellation';

/** What the API tells of an order, as a record has it, or a row. */
type StoredOrder = Omit<Order, 'lines' | 'workflowId' | 'subtotal' | MayBeMissing> & {
  lines: RecordLine[];
} & { [Field in MayBeMissing]?: Order[Field] | null };

/** An order as the API tells it. */
export const toOrder = (record: StoredOrder): Order => ({
  id: record.id,
  number: record.number,
  workflowId: orderWorkflowId(record.id),
  customerId: record.customerId,
  status: record.status,
  paymentStatus: record.paymentStatus,
  lines: record.lines.map(({ reservedQuantity: _, ...line }) => line),
  currency: record.currency,
  subtotal: record.total,
  total: record.total,
  shippingAddress: record.shippingAddress,
  ...(record.rejection && { rejection: record.rejection }),
  ...(record.cancellation && { cancellation: record.cancellation }),
  shipments: record.shipments,
  ...(typeof record.note === 'string' && { note: record.note }),
  version: record.version,
  createdAt: record.createdAt,
  updatedAt: record.updatedAt,
});

/** An order as it was accepted: what its workflow needs to go on from its row. */
export const toPlacedOrder = (record: OrderRecord): PlacedOrder => ({
  orderId: record.id,
  number: record.number,
  customerId: record.customerId,
  placedBy: record.placedBy,
  placedAt: record.createdAt,
  requestHash: record.requestHash,
  lines: record.lines.map(({ id, sku, name, quantity, unitPrice }) => ({
    id,
    sku,
    name,
    quantity,
    unitPrice,
  })),
  currency: record.currency,
  total: record.total,
  shippingAddress: record.shippingAddress,
  payment: { method: 'card', token: record.paymentToken },
  ...(record.note !== undefined && { note: record.note }),
  ...(record.shipBy !== null && { shipBy: record.shipBy }),
  isPlaced: true,
});

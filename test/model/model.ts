/**
 * What orders ought to be, in as few words as possible and without a line of the product: a pure function from a world
 * and a command to the answers that are right, each with the world it leads to.
 */

/** A sku that sequences fight for: what is left of it no single one of them can know. */
export const CONTENDED = 'MODEL-CONTENDED';

export interface Units {
  line: number;
  quantity: number;
}

export type ReturnCommand = 'approve' | 'reject' | 'receive';
export const STATIONS = ['created', 'in_transit', 'out_for_delivery', 'delivered'] as const;

/** Orders, parcels and returns go by the key of the command that made them. */
export type Command = { key: string } & (
  | {
      kind: 'place';
      lines: { sku: string; quantity: number }[];
      token: string;
      verdict: Verdict;
      /** Cancelled at once, before anybody can know how the placement ends. */
      cancelled?: Door;
    }
  | { kind: 'cancel'; order: string; units?: Units[]; door: Door }
  | { kind: 'ship'; order: string; units?: Units[]; carrier: string }
  | { kind: 'deliver'; order: string; parcel: string; door: 'http' | 'webhook' }
  | { kind: 'track'; order: string; parcel: string; station: 1 | 2 }
  | { kind: 'pay'; order: string; verdict: Verdict }
  | { kind: 'refund'; order: string; amount: number }
  | { kind: 'return'; order: string; units: Units[] }
  | { kind: 'advance'; order: string; returned: string; command: ReturnCommand }
  | { kind: 'change'; order: string; address: string }
  | { kind: 'terminate'; order: string }
);

export type Door = 'http' | 'signal' | 'native';

/** What the customer of a payment that is awaited will do. */
export type Verdict = 'authorized' | 'failed';

export interface Line {
  sku: string;
  price: number;
  quantity: number;
  cancelled: number;
  shipped: number;
  returned: number;
}

export interface Order {
  key: string;
  token: string;
  verdict: Verdict;
  lines: Line[];
  payment: 'none' | 'awaited' | 'authorized' | 'declined' | 'voided';
  rejected: boolean;
  /** All that was left of it was cancelled at once. */
  cancelled: boolean;
  address: string;
  parcels: { key: string; carrier: string; units: Units[]; station: number }[];
  returns: { key: string; units: Units[]; status: string }[];
  captured: number;
  refunded: number;
  /** What came back before it was charged. */
  waived: number;
  terminated: boolean;
}

export interface World {
  onHand: Record<string, number>;
  prices: Record<string, number>;
  orders: Order[];
  /** The keys of what was done: the same request again does nothing. */
  done: string[];
}

/** `ok`, the code of the problem, the status of an order that was placed, or `gone`: Temporal knows no such workflow. */
export type Answer = string;
/** An answer that nobody knows: a request without a key was sent again, and refused the second time. */
export const UNKNOWN: Answer = '?';

interface Outcome {
  answer: Answer;
  world: World;
}

const sum = <T>(all: T[], read: (one: T) => number): number =>
  all.reduce((total, one) => total + read(one), 0);

export const openOf = (order: Order, { quantity, cancelled, shipped }: Line): number =>
  order.rejected ? 0 : quantity - cancelled - shipped;

export const reservedOf = ({ orders }: World, sku: string): number =>
  sum(orders, (order) => sum(order.lines, (line) => (line.sku === sku ? openOf(order, line) : 0)));

export function statusOf(order: Order): string {
  const shipped = sum(order.lines, (line) => line.shipped);
  const open = sum(order.lines, (line) => openOf(order, line));
  if (order.rejected) return 'rejected';
  if (shipped === 0 && open === 0) return 'cancelled';
  if (shipped === 0) return order.payment === 'awaited' ? 'awaiting_payment' : 'confirmed';
  if (open > 0) return 'partially_shipped';
  return order.parcels.every(({ station }) => station === 3) ? 'delivered' : 'shipped';
}

export const hasEnded = (order: Order): boolean =>
  ['rejected', 'cancelled', 'delivered'].includes(statusOf(order));

export function paymentStatusOf({ payment, captured, refunded, waived, lines }: Order): string {
  if (captured > 0 && refunded > 0) return refunded < captured ? 'partially_refunded' : 'refunded';
  const payable = sum(lines, (line) => line.price * (line.quantity - line.cancelled)) - waived;
  if (captured > 0) return captured < payable ? 'partially_captured' : 'captured';
  return { none: 'none', awaited: 'none', authorized: 'authorized', declined: 'failed', voided: 'voided' }[
    payment
  ];
}

/** How many units of a line may still be returned. */
export const returnableOf = ({ parcels, returns }: Order, line: number): number => {
  const unitsOf = (holders: { units: Units[] }[]) =>
    sum(holders, ({ units }) => sum(units, (one) => (one.line === line ? one.quantity : 0)));
  return (
    unitsOf(parcels.filter(({ station }) => station === 3)) -
    unitsOf(returns.filter(({ status }) => status !== 'rejected'))
  );
};

/** Money follows goods: what is shipped is captured, what never will be is given free. */
function moveMoney(order: Order): void {
  const open = order.lines.some((line) => openOf(order, line) > 0);
  const owed = owedFor(order);
  const decided = order.payment === 'authorized' || order.payment === 'awaited';
  if (!open && owed === 0 && decided) order.payment = 'voided';
  const inParts = order.token !== 'tok_single_capture';
  if (order.payment === 'authorized' && (inParts || !open)) order.captured = owed;
}

const owedFor = ({ lines, waived }: Order): number =>
  sum(lines, (line) => line.price * line.shipped) - waived;

const ILLEGAL: Record<'ship' | 'cancel' | 'change', Partial<Record<string, Answer>>> = {
  ship: {
    awaiting_payment: 'invalid_transition',
    shipped: 'invalid_transition',
    delivered: 'invalid_transition',
    rejected: 'invalid_transition',
    cancelled: 'invalid_transition',
  },
  cancel: {
    shipped: 'already_shipped',
    delivered: 'already_shipped',
    rejected: 'invalid_transition',
    cancelled: 'invalid_transition',
  },
  change: {
    shipped: 'invalid_transition',
    delivered: 'invalid_transition',
    rejected: 'invalid_transition',
    cancelled: 'invalid_transition',
  },
};

const RETURNS = {
  approve: { from: 'requested', to: 'approved' },
  reject: { from: 'requested', to: 'rejected' },
  receive: { from: 'approved', to: 'refunded' },
} as const;

/** The answers that a command may get in a world, and what it leaves behind with each. */
function apply(world: World, command: Command): Outcome[] {
  if (command.kind === 'place') return place(world, command);
  const order = world.orders.find(({ key }) => key === command.order)!;
  const nothing = (answer: Answer): Outcome => ({ answer, world });
  if (world.done.includes(command.key)) return [nothing('ok')];
  const done = (change?: (its: Order, next: World) => void): Outcome => {
    const next = structuredClone(world);
    if (isKeyed(command)) next.done.push(command.key);
    change?.(
      next.orders.find(({ key }) => key === order.key)!,
      next,
    );
    return { answer: 'ok', world: next };
  };
  const lacks = (units: Units[], left: (line: number) => number) =>
    units.some(({ line, quantity }) => quantity > left(line));
  const open = (line: number) => openOf(order, order.lines[line]!);
  const all = order.lines
    .map((_, line) => ({ line, quantity: open(line) }))
    .filter(({ quantity }) => quantity > 0);

  switch (command.kind) {
    case 'cancel': {
      const { units = all } = command;
      const refusal = ILLEGAL.cancel[statusOf(order)];
      const cancelled = done((its) => {
        for (const { line, quantity } of units) its.lines[line]!.cancelled += quantity;
        its.cancelled ||= its.lines.every((line) => openOf(its, line) === 0);
        moveMoney(its);
      });
      if (command.door !== 'http') {
        const heard = { answer: 'ok', world: refusal || order.cancelled ? world : cancelled.world };
        // Temporal takes a native cancellation also of a workflow that has ended.
        const unheard = nothing(command.door === 'native' ? 'ok' : 'gone');
        return hasEnded(order) || order.terminated ? [unheard, heard] : [heard];
      }
      if (!command.units && order.cancelled) return [done()];
      if (refusal) return [nothing(refusal)];
      return [lacks(units, open) ? nothing('not_enough_units') : cancelled];
    }
    case 'ship': {
      const { units = all, carrier } = command;
      const refusal = ILLEGAL.ship[statusOf(order)];
      const same = order.parcels.some(
        (parcel) => parcel.carrier === carrier && (!command.units || isEqual(parcel.units, units)),
      );
      if (refusal) return [nothing(refusal), ...(same && all.length === 0 ? [done()] : [])];
      if (lacks(units, open)) return [nothing('not_enough_units')];
      return [
        done((its, next) => {
          for (const { line, quantity } of units) {
            its.lines[line]!.shipped += quantity;
            next.onHand[its.lines[line]!.sku]! -= quantity;
          }
          its.parcels.push({ key: command.key, carrier, units, station: 0 });
          moveMoney(its);
        }),
      ];
    }
    case 'deliver':
    case 'track': {
      const station = command.kind === 'deliver' ? 3 : command.station;
      const parcelOf = (its: Order) => its.parcels.find(({ key }) => key === command.parcel)!;
      if (parcelOf(order).station > station) return [nothing('invalid_transition')];
      return [done((its) => (parcelOf(its).station = station))];
    }
    case 'pay':
      if (order.payment !== 'awaited') return [done()];
      return [
        done((its) => {
          its.payment = command.verdict === 'authorized' ? 'authorized' : 'declined';
          its.rejected = command.verdict === 'failed';
          moveMoney(its);
        }),
      ];
    case 'refund': {
      const { amount } = command;
      if (amount > order.captured - order.refunded) return [nothing('refund_exceeds_captured')];
      return [done((its) => (its.refunded += amount))];
    }
    case 'return': {
      const { units, key } = command;
      if (!order.parcels.some(({ station }) => station === 3)) return [nothing('invalid_transition')];
      if (lacks(units, (line) => returnableOf(order, line))) return [nothing('not_enough_units')];
      return [done((its) => its.returns.push({ key, units, status: 'requested' }))];
    }
    case 'advance': {
      const { from, to } = RETURNS[command.command];
      const { status, units } = order.returns.find(({ key }) => key === command.returned)!;
      if (status === to) return [done()];
      if (status !== from) return [nothing('invalid_transition')];
      return [
        done((its, next) => {
          its.returns.find(({ key }) => key === command.returned)!.status = to;
          if (to !== 'refunded') return;
          for (const { line, quantity } of units) {
            its.lines[line]!.returned += quantity;
            next.onHand[its.lines[line]!.sku]! += quantity;
          }
          const worth = sum(units, ({ line, quantity }) => its.lines[line]!.price * quantity);
          const refund = Math.min(worth, its.captured - its.refunded);
          its.refunded += refund;
          its.waived += Math.min(worth - refund, owedFor(its) - its.captured);
        }),
      ];
    }
    case 'change': {
      const refusal = ILLEGAL.change[statusOf(order)];
      return [refusal ? nothing(refusal) : done((its) => (its.address = command.address))];
    }
    case 'terminate':
      return [
        done((its) => (its.terminated = true)),
        ...(hasEnded(order) || order.terminated ? [nothing('gone')] : []),
      ];
  }
}

/** Whether it is a request that carries an Idempotency-Key: then a repetition does nothing, whatever has happened since. */
const isKeyed = (command: Command): boolean =>
  !['track', 'pay', 'change', 'terminate'].includes(command.kind) &&
  !('door' in command && command.door !== 'http');

function place(world: World, command: Command & { kind: 'place' }): Outcome[] {
  const { key, lines, token, verdict } = command;
  const known = world.orders.find((order) => order.key === key);
  if (known) return [{ answer: command.cancelled ? 'ok' : statusOf(known), world }];
  const enter = (change: Partial<Order>): Outcome => {
    const order: Order = {
      key,
      token,
      verdict,
      lines: lines.map(({ sku, quantity }) => {
        return { sku, quantity, price: world.prices[sku]!, cancelled: 0, shipped: 0, returned: 0 };
      }),
      payment: 'authorized',
      rejected: false,
      cancelled: false,
      address: '1 Main Street',
      parcels: [],
      returns: [],
      captured: 0,
      refunded: 0,
      waived: 0,
      terminated: false,
      ...change,
    };
    return {
      answer: statusOf(order),
      world: { ...structuredClone(world), orders: [...world.orders, order] },
    };
  };
  const declined = token === 'tok_declined' || token === 'tok_insufficient_funds';
  const taken = enter({
    ...(token === 'tok_async' && { payment: 'awaited' }),
    ...(declined && { payment: 'declined', rejected: true }),
  });
  const short = enter({ payment: 'none', rejected: true });
  const isShort = lines.some(
    ({ sku, quantity }) => sku !== CONTENDED && quantity > world.onHand[sku]! - reservedOf(world, sku),
  );
  const isContended = lines.some(({ sku }) => sku === CONTENDED);
  const placed = isShort ? [short] : isContended ? [taken, short] : [taken];
  if (!command.cancelled) return placed;
  const cancelAll = ({ world: next }: Outcome): Outcome[] => {
    const cancel: Command = { kind: 'cancel', key: `${key}-at-once`, order: key, door: 'signal' };
    return apply(next, cancel).map((outcome) => ({ ...outcome, answer: 'ok' }));
  };
  const early = enter({ payment: 'none' });
  const beforeTheDecline = declined && !isShort ? [enter({ payment: 'declined' })] : [];
  return [early, ...beforeTheDecline, ...placed].flatMap(cancelAll);
}

const isEqual = (left: unknown, right: unknown): boolean => JSON.stringify(left) === JSON.stringify(right);

/** The worlds that explain what was answered to commands that were sent at once: in some order they came one by one. */
export function explain(worlds: World[], sent: { command: Command; answer: Answer }[]): World[] {
  if (sent.length === 0) return worlds;
  const reached = sent.flatMap(({ command, answer }, index) => {
    const next = worlds
      .flatMap((world) => apply(world, command))
      .filter((outcome) => outcome.answer === answer || answer === UNKNOWN)
      .map(({ world }) => world);
    return explain(next, sent.toSpliced(index, 1));
  });
  return [...new Map(reached.map((world) => [JSON.stringify(world), world])).values()];
}

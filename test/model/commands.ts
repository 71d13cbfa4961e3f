import fc from 'fast-check';
import {
  type Command,
  CONTENDED,
  hasEnded,
  type Order,
  returnableOf,
  statusOf,
  type ReturnCommand,
  type World,
} from './model.ts';

/** What fast-check draws: a wish in numbers, which become a command when it is known what there is. */
interface Wish {
  kind: Exclude<Command['kind'], 'advance'> | ReturnCommand | 'onward';
  /** Which order, line, parcel or return. */
  which: number;
  line: number;
  quantity: number;
  whole: boolean;
  /** One of a hundred ways to do it. */
  way: number;
}

/** One step of a sequence: a command or two at once, each of them sent once, twice at once, or once more afterwards. */
export interface Step {
  wishes: Wish[];
  repeated: 'never' | 'at once' | 'later';
}

const weighted = <T>(weights: [T, number][]) =>
  fc.oneof(...weights.map(([value, weight]) => ({ arbitrary: fc.constant(value), weight })));

const wish = fc.record({
  kind: weighted<Wish['kind']>([
    ['onward', 20],
    ['place', 2],
    ['cancel', 4],
    ['ship', 4],
    ['deliver', 2],
    ['track', 2],
    ['pay', 2],
    ['refund', 3],
    ['return', 3],
    ['approve', 2],
    ['reject', 2],
    ['receive', 2],
    ['change', 2],
    ['terminate', 1],
  ]),
  which: fc.nat(5),
  line: fc.nat(1),
  quantity: weighted([
    [1, 5],
    [2, 4],
    [3, 2],
    [9, 1],
  ]),
  whole: fc.boolean(),
  way: fc.nat(99),
});

const step = fc.record({
  wishes: fc.oneof(
    { arbitrary: fc.array(wish, { minLength: 1, maxLength: 1 }), weight: 4 },
    { arbitrary: fc.array(wish, { minLength: 2, maxLength: 2 }), weight: 1 },
  ),
  repeated: weighted<Step['repeated']>([
    ['never', 7],
    ['at once', 1],
    ['later', 1],
  ]),
});

const first: fc.Arbitrary<Step> = fc.record({
  wishes: wish.map((drawn) => [{ ...drawn, kind: 'place' as const }]),
  repeated: fc.constant('never' as const),
});

const sequence = fc.noBias(
  fc
    .tuple(first, fc.array(step, { minLength: 5, maxLength: 12 }))
    .map(([place, rest]): Step[] => [place, ...rest]),
);

/** Sequence number `index` of a seed, always the same. */
export const sequenceOf = (seed: number, index: number): Step[] =>
  fc.sample(sequence, { seed: seed * 1_000 + index, numRuns: 1 })[0]!;

const tokenOf = (way: number): string => {
  if (way < 45) return 'tok_ok';
  if (way < 63) return 'tok_async';
  if (way < 72) return 'tok_declined';
  if (way < 75) return 'tok_insufficient_funds';
  if (way < 80) return 'tok_flaky';
  return way < 91 ? 'tok_single_capture' : 'tok_expires';
};

const pick = <T>(all: T[], which: number): T | undefined => all[which % all.length];

/** The command that a wish means in a world; undefined where there is nothing it could be done to. */
export function commandOf(wanted: Wish, world: World, key: string, skus: string[]): Command | undefined {
  const { kind, which, line, quantity, whole, way } = wanted;
  if (kind === 'place') {
    const own = skus.filter((sku) => sku !== CONTENDED);
    const lines = [{ sku: own[line % own.length]!, quantity }];
    if (which % 3 === 0) lines.push({ sku: CONTENDED, quantity: 1 + (quantity % 2) });
    else if (whole) lines.push({ sku: own[(line + 1) % own.length]!, quantity: 1 + (quantity % 3) });
    const token = tokenOf(way);
    const fails = token === 'tok_async' && which === 5;
    const order = { key, kind, lines, token, verdict: fails ? 'failed' : 'authorized' } as const;
    const doors = ['http', 'signal', 'native'] as const;
    return which === 4 ? { ...order, cancelled: pick([...doors], way)! } : order;
  }

  // A later order is the more interesting one: much has been done to the first already.
  const order = pick(world.orders.toReversed(), which % 2);
  if (!order) return undefined;
  if (kind === 'onward') return commandOf({ ...wanted, kind: nextOf(order) }, world, key, skus);
  const its = { key, order: order.key };
  const units = [{ line: line % order.lines.length, quantity }];
  switch (kind) {
    case 'cancel': {
      if (way < 65) return { ...its, kind, units, door: 'http' };
      // Of a workflow that may have ended Temporal does not say whether it heard a native cancellation.
      const door = way < 85 ? 'http' : way < 93 || order.terminated ? 'signal' : 'native';
      return { ...its, kind, door };
    }
    case 'ship':
      return { ...its, kind, carrier: way < 50 ? 'UPS' : 'DHL', ...(!whole && { units }) };
    case 'deliver':
    case 'track': {
      const parcels = order.parcels.filter(({ station }) => station < 3);
      const parcel = pick(parcels.length > 0 ? parcels : order.parcels, which)?.key;
      if (parcel === undefined) return undefined;
      if (kind === 'track') return { ...its, kind, parcel, station: whole ? 1 : 2 };
      return { ...its, kind, parcel, door: way < 70 ? 'http' : 'webhook' };
    }
    case 'pay': {
      // A company does not contradict itself: of a payment that is decided it says the same again.
      if (order.token !== 'tok_async' && way >= 10) return undefined;
      return { ...its, kind, verdict: order.payment === 'declined' ? 'failed' : order.verdict };
    }
    case 'refund': {
      const left = order.captured - order.refunded;
      return { ...its, kind, amount: Math.max(1, Math.round((left * way) / 80)) };
    }
    case 'return':
      return { ...its, kind, units: whole ? returnedUnits(order, quantity) : units };
    case 'approve':
    case 'reject':
    case 'receive': {
      const open = order.returns.filter(({ status }) => status === 'requested' || status === 'approved');
      const returned = pick(open.length > 0 ? open : order.returns, which)?.key;
      return returned === undefined ? undefined : { ...its, kind: 'advance', returned, command: kind };
    }
    case 'change':
      return { ...its, kind, address: `${key} Street` };
    case 'terminate':
      return hasEnded(order) ? undefined : { ...its, kind };
    default:
      return kind satisfies never;
  }
}

/** What comes next in the life of an order, and after its end in the life of the shop. */
function nextOf(order: Order): Wish['kind'] {
  const isOpen = ['confirmed', 'partially_shipped'].includes(statusOf(order));
  if (statusOf(order) === 'awaiting_payment') return 'pay';
  if (order.returns.some(({ status }) => status === 'requested')) return 'approve';
  if (order.returns.some(({ status }) => status === 'approved')) return 'receive';
  if (order.parcels.some(({ station }) => station < 3)) return 'deliver';
  if (isOpen) return 'ship';
  return order.lines.some((_, line) => returnableOf(order, line) > 0) ? 'return' : 'place';
}

/** Units that may well be returned: from the first line of which there are any. */
function returnedUnits(order: Order, quantity: number): { line: number; quantity: number }[] {
  const line = Math.max(
    order.lines.findIndex((_, index) => returnableOf(order, index) > 0),
    0,
  );
  return [{ line, quantity: Math.min(quantity, Math.max(returnableOf(order, line), 1)) }];
}

/**
 * Commands that may be sent at once. A workflow that is terminated forgets the signals that it has not taken up, and
 * nobody could say what is right then. An order that is declined or cancelled holds its goods for a moment, in which
 * another one may or may not find them gone.
 */
export function besidesOneAnother(commands: Command[]): Command[] {
  const isSignal = (command: Command) =>
    command.kind === 'pay' || (command.kind === 'cancel' && command.door !== 'http');
  const isPassing = (command: Command) =>
    command.kind === 'place' &&
    (command.cancelled !== undefined || ['tok_declined', 'tok_insufficient_funds'].includes(command.token));
  const place = commands.find(({ kind }) => kind === 'place');
  const calm = commands.some(isPassing)
    ? commands.filter(({ kind, key }) => kind !== 'place' || key === place?.key)
    : commands;
  return calm.some(isSignal) ? calm.filter(({ kind }) => kind !== 'terminate') : calm;
}

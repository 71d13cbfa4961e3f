import { findOrderRecord } from '../../db/orders.ts';
import type { OrderRecord } from '../../domain/record.ts';
import type { TestStack } from '../harness/stack.ts';
import { eventually } from '../harness/wait.ts';
import { expectTimelineAddsUp } from './checks.ts';
import { ModelClient } from './client.ts';
import { besidesOneAnother, commandOf, sequenceOf, type Step } from './commands.ts';
import {
  type Answer,
  type Command,
  CONTENDED,
  explain,
  openOf,
  type Order,
  paymentStatusOf,
  reservedOf,
  STATIONS,
  statusOf,
  type World,
} from './model.ts';

const PRICES = [1999, 350];
const ON_HAND = 8;

/** What a sequence has left behind. */
export interface Ended {
  world: World;
  orders: { id: string; model: Order }[];
  /** What was asked, with the answers: `ship ok`, `ship invalid_transition`. */
  answered: string[];
}

export interface Game {
  stack: TestStack;
  seed: number;
  /** Within so many seconds a step is answered, and within as many more all that it leaves behind is there. */
  patience: number;
}

/**
 * Plays sequence number `index` of a seed: sends each step's commands, and after each looks whether the model explains
 * the answers and what is in the database. Throws with the whole story where it does not.
 */
export async function playSequence(game: Game, index: number): Promise<Ended> {
  const play = new Play(game, index);
  try {
    return await play.run(sequenceOf(game.seed, index));
  } catch (error) {
    const { message } = error as Error;
    const told = [`Sequence ${index} (MODEL_SEED=${game.seed} MODEL_ONLY=${index}):`, ...play.story];
    throw new Error(`${message}\n\n${told.join('\n')}`, { cause: error });
  }
}

/**
 * Plays sequences, several at a time, for as long as `more` says so of the number that has ended. Stops at the first
 * that fails.
 */
export async function playSequences(
  game: Game,
  atATime: number,
  more: (played: number) => boolean,
): Promise<Ended[]> {
  const ended: Ended[] = [];
  let next = 0;
  const failures: Error[] = [];
  const lane = async (): Promise<void> => {
    while (failures.length === 0 && more(ended.length)) {
      next += 1;
      await playSequence(game, next - 1).then(
        (one) => ended.push(one),
        (error: Error) => failures.push(error),
      );
    }
  };
  await Promise.all(Array.from({ length: atATime }, lane));
  if (failures[0]) throw failures[0];
  return ended;
}

class Play {
  /** What was sent and answered, a line a step. */
  readonly story: string[] = [];
  private readonly stack: TestStack;
  private readonly client: ModelClient;
  private readonly name: string;
  private readonly patience: number;
  private readonly skus: string[];
  private worlds: World[] = [];
  private readonly answered: string[] = [];

  constructor({ stack, seed, patience }: Game, index: number) {
    this.stack = stack;
    this.client = new ModelClient(stack, patience);
    this.name = `${seed}-${index}`;
    this.patience = patience;
    this.skus = PRICES.map((_, number) => `MODEL-${this.name}-${number}`);
  }

  async run(steps: Step[]): Promise<Ended> {
    const world: World = { onHand: { [CONTENDED]: 0 }, prices: { [CONTENDED]: 1000 }, orders: [], done: [] };
    for (const [number, sku] of this.skus.entries()) {
      await putOnSale(this.stack, sku, ON_HAND, PRICES[number]!);
      world.onHand[sku] = ON_HAND;
      world.prices[sku] = PRICES[number]!;
    }
    this.worlds = [world];

    for (const [number, { wishes, repeated }] of steps.entries()) {
      const wanted = wishes.map((wish, at) =>
        commandOf(wish, this.worlds[0]!, `${this.name}-${number}${'ab'[at]}`, this.skus),
      );
      const commands = besidesOneAnother(wanted.filter((command) => command !== undefined));
      if (commands.length === 0) continue;
      await this.step(repeated === 'at once' ? [...commands, ...commands] : commands);
      if (repeated === 'later') await this.step(commands);
    }

    const ended = this.worlds[0]!;
    const orders = ended.orders.map((model) => ({ id: this.client.ids.get(model.key)!, model }));
    for (const { id } of orders) await expectTimelineAddsUp(this.stack, id);
    return { world: ended, orders, answered: this.answered };
  }

  /** Sends commands at once, and waits until things are as the model says they have to be after these answers. */
  private async step(commands: Command[]): Promise<void> {
    const begun = Date.now();
    const sent = await Promise.all(
      commands.map(async (command) => ({ command, answer: await this.client.send(command) })),
    );
    this.story.push(`${sent.map(tell).join('  |  ')}   (${Date.now() - begun} ms)`);
    this.answered.push(...sent.map(nameOf));
    const possible = explain(this.worlds, sent);
    if (possible.length === 0) throw new Error('The model does not know these answers');

    const expected = possible.map((world) => this.viewOf(world));
    let wrong: string[][] = [];
    const explained = async () => {
      const { settled, view } = await this.look(possible[0]!);
      wrong = expected.map((right) => differences(view, right));
      if (!settled) wrong = wrong.map((found) => [...found, 'money is under way']);
      const found = possible.filter((_, at) => wrong[at]!.length === 0);
      return found.length > 0 && found;
    };
    try {
      const what = 'what is there is what the model says';
      this.worlds = await eventually(what, explained, this.patience, 400);
    } catch {
      throw new Error(
        `What is there is not what the model says: ${wrong.map((found) => found.join(', ')).join('; or ')}`,
      );
    }
  }

  private viewOf(world: World) {
    return {
      orders: world.orders.toSorted(byKey).map(viewOfModel),
      stock: this.skus.map((sku) => ({ sku, onHand: world.onHand[sku], reserved: reservedOf(world, sku) })),
    };
  }

  /** What the database says, in the model's words; `settled` when no money is under way. */
  private async look({ orders }: World) {
    const keys = new Map([...this.client.ids].toReversed().map(([key, id]) => [id, key]));
    const records = await Promise.all(
      orders
        .toSorted(byKey)
        .map(async ({ key }) => (await findOrderRecord(this.stack.db, this.client.ids.get(key)!))!),
    );
    const stock = await this.stack.db
      .selectFrom('inventory.stock')
      .select(['sku', 'on_hand as onHand', 'reserved'])
      .where('sku', 'in', this.skus)
      .orderBy('sku')
      .execute();
    return {
      settled: records.every(({ payments }) =>
        payments.every(({ status, awaiting }) => status !== 'pending' || awaiting),
      ),
      view: { orders: records.map((record) => viewOfRecord(record, keys)), stock },
    };
  }
}

const nameOf = ({ command, answer }: { command: Command; answer: Answer }): string =>
  `${command.kind === 'advance' ? command.command : command.kind} ${answer}`;

const tell = ({ command, answer }: { command: Command; answer: Answer }): string => {
  const { key, kind, ...rest } = command;
  return `${key} ${kind} ${JSON.stringify(rest)} -> ${answer}`;
};

/** Where what is there differs from what should be. */
function differences(there: unknown, right: unknown, path = ''): string[] {
  if (typeof right !== 'object' || right === null || typeof there !== 'object' || there === null) {
    return there === right ? [] : [`${path} is ${JSON.stringify(there)}, not ${JSON.stringify(right)}`];
  }
  const names = [...new Set([...Object.keys(there), ...Object.keys(right)])];
  return names.flatMap((name) =>
    differences(there[name as never], right[name as never], path === '' ? name : `${path}.${name}`),
  );
}

const byKey = (left: { key: string }, right: { key: string }) => left.key.localeCompare(right.key);

const viewOfModel = (order: Order) => ({
  status: statusOf(order),
  paymentStatus: paymentStatusOf(order),
  address: order.address,
  lines: order.lines.map((line) => ({
    reserved: openOf(order, line),
    cancelled: line.cancelled,
    shipped: line.shipped,
    returned: line.returned,
  })),
  parcels: order.parcels.map(({ key, station }) => ({ key, status: STATIONS[station]! })).sort(byKey),
  returns: order.returns.map(({ key, status }) => ({ key, status })).sort(byKey),
  captured: order.captured,
  refunded: order.refunded,
});

function viewOfRecord(record: OrderRecord, keys: Map<string, string>): ReturnType<typeof viewOfModel> {
  const moved = (type: string) =>
    record.payments
      .filter((payment) => payment.type === type && payment.status === 'succeeded')
      .reduce((sum, { amount }) => sum + amount, 0);
  const keyOf = (id: string) => keys.get(id) ?? `nobody asked for ${id}`;
  return {
    status: record.status,
    paymentStatus: record.paymentStatus,
    address: record.shippingAddress.line1,
    lines: record.lines.map((line) => ({
      reserved: line.reservedQuantity,
      cancelled: line.cancelledQuantity,
      shipped: line.shippedQuantity,
      returned: line.returnedQuantity,
    })),
    parcels: record.shipments.map(({ id, status }) => ({ key: keyOf(id), status })).sort(byKey),
    returns: record.returns.map(({ id, status }) => ({ key: keyOf(id), status })).sort(byKey),
    captured: moved('capture'),
    refunded: moved('refund'),
  };
}

/** A new product with stock that has a ledger. */
export async function putOnSale(stack: TestStack, sku: string, onHand: number, price: number): Promise<void> {
  await stack.stock(sku, 0, price);
  await stack.api.request('PUT', `/v1/inventory/${sku}`, { token: stack.tokens.staff, body: { onHand } });
}

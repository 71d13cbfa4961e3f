import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectEventsOfOrders, expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { expectHistoriesReplay, expectNothingUnderWay, expectWorkflowExplained } from './model/checks.ts';
import { MOCK_WEBHOOK_SECRET } from './model/client.ts';
import { CONTENDED, reservedOf } from './model/model.ts';
import { type Ended, playSequence, playSequences, putOnSale } from './model/run.ts';

const SEQUENCES = 200;
const KILLS = 20;
const AT_A_TIME = 10;
const CONTENDED_UNITS = 250;

/** `MODEL_SEED=<seed>` plays the same sequences again, `MODEL_ONLY=<number>` just one of them. */
const { MODEL_SEED, MODEL_ONLY } = process.env;
const seed = Number(MODEL_SEED ?? Math.floor(Math.random() * 1_000_000));

/** What a run that is worth its name has seen. */
const WORTH_ITS_NAME = [
  ...['confirmed', 'awaiting_payment', 'rejected'].map((status) => `place ${status}`),
  ...['cancel', 'ship', 'deliver', 'track', 'pay', 'refund', 'change', 'terminate'].map(
    (kind) => `${kind} ok`,
  ),
  ...['return', 'approve', 'receive'].map((kind) => `${kind} ok`),
];

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack({
    environment: {
      API_WORKER: 'false',
      MOCK_WEBHOOK_SECRET,
      RECONCILE_INTERVAL_SECONDS: '86400',
    },
  });
  await putOnSale(stack, CONTENDED, CONTENDED_UNITS, 1000);
});
afterAll(async () => {
  await stack.stop();
});

/** Kills one of two workers again and again while something runs, at moments that nobody foresees. */
async function whileWorkersAreKilled<T>(run: (kills: () => number) => Promise<T>): Promise<T> {
  const workers = await Promise.all([stack.startWorker(), stack.startWorker()]);
  let kills = 0;
  const ended = new AbortController();
  const killing = async (): Promise<void> => {
    while (!ended.signal.aborted && kills < KILLS) {
      await delay(Math.random() * 1_000);
      const victim = Math.random() < 0.5 ? 0 : 1;
      await workers[victim].kill();
      kills += 1;
      workers[victim] = await stack.startWorker();
    }
  };
  const killed = killing();
  try {
    return await Promise.race([run(() => kills), killed.then(() => new Promise<never>(() => {}))]);
  } finally {
    ended.abort();
    await killed;
  }
}

/** What reconciling finds wrong, by kind; it puts it right. */
async function reconcile(): Promise<Record<string, number>> {
  return (await stack.temporal.workflow.execute('reconcile', {
    taskQueue: 'orders',
    workflowId: 'reconcile-after-the-model',
  })) as Record<string, number>;
}

test(
  'random commands at once, while workers are killed: stock, money, timelines and workflows are as the model says',
  { timeout: 600_000 },
  async () => {
    const begun = Date.now();
    console.log(`The model's seed: MODEL_SEED=${seed}`);
    const game = { stack, seed, patience: 150 };
    const ended = await whileWorkersAreKilled(async (kills) => {
      if (MODEL_ONLY !== undefined) return [await playSequence(game, Number(MODEL_ONLY))];
      const played = await playSequences(game, AT_A_TIME, (count) => count < SEQUENCES || kills() < KILLS);
      const seconds = Math.round((Date.now() - begun) / 1000);
      console.log(`${played.length} sequences and ${kills()} kills in ${seconds} s`);
      expect(played.length).toBeGreaterThanOrEqual(SEQUENCES);
      expect(kills()).toBeGreaterThanOrEqual(KILLS);
      return played;
    });
    const counts: Record<string, number> = {};
    for (const name of ended.flatMap(({ answered }) => answered)) counts[name] = (counts[name] ?? 0) + 1;
    if (MODEL_ONLY === undefined) {
      expect(Object.keys(counts)).toEqual(expect.arrayContaining(WORTH_ITS_NAME));
    }

    await expectHistoriesReplay(stack);
    const { lost_workflow: lost = 0, unaware_workflow: unaware = 0, ...rest } = await reconcile();
    expect(rest).toEqual({});
    expect(lost).toBeLessThanOrEqual(counts['terminate ok'] ?? 0);
    expect(unaware).toBeLessThanOrEqual(KILLS);
    await expectNothingUnderWay(stack, reconcile);
    const fewAtOnce = pLimit(10);
    const orders = ended.flatMap((one) => one.orders);
    await fewAtOnce.map(orders, ({ id }) => expectWorkflowExplained(stack, id));
    await expectStockAddsUp(stack.db);
    await expectMoneyAddsUp(stack.db);
    await expectEventsOfOrders(stack.db);

    const contended = await stack.db
      .selectFrom('inventory.stock')
      .select(['on_hand', 'reserved'])
      .where('sku', '=', CONTENDED)
      .executeTakeFirstOrThrow();
    const total = (read: (one: Ended) => number) => ended.reduce((sum, one) => sum + read(one), 0);
    expect(contended).toEqual({
      on_hand: CONTENDED_UNITS + total(({ world }) => world.onHand[CONTENDED]!),
      reserved: total(({ world }) => reservedOf(world, CONTENDED)),
    });
  },
);

import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { fail, note, paint, say, seconds, step, warn } from '../dev/report.ts';
import { checkResult } from './checks.ts';
import { costOf, costsOf } from './histories.ts';
import { describeMachine, memoryOf } from './machine.ts';
import { measureRound, type Round, type Subject } from './measure.ts';
import { addProducts, cancelOrders, logIn, newestOrders, untilMessagesAreSent } from './orders.ts';
import { createPlatform, type Platform } from './platform.ts';
import { printComparison, printResults, readResults, type Results, saveResults } from './report.ts';
import { startGenerator } from './rounds.ts';

const usage = `Measures orders against bare workflows, on one Temporal server, in one run.

  npm run bench                         about two and a half minutes
  npm run bench -- --quick              under a minute, and noisier
  npm run bench -- --compare old.json   and compares with an earlier run (bench/results/)`;

const plans = {
  full: { rounds: 3, warmUp: 6, many: 12, one: 5 },
  quick: { rounds: 3, warmUp: 3, many: 4, one: 1.5 },
};
const MANY_CLIENTS = 40;
const PRODUCTS = 200;
const HISTORIES = 20;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    compare: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const platform = createPlatform();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => void platform.stop().finally(() => process.exit(130)));
}

if (options.help) {
  say(usage);
} else {
  try {
    await main();
  } catch (error) {
    fail(error);
    process.exitCode = 1;
  } finally {
    await platform.stop();
  }
}

async function main(): Promise<void> {
  const began = performance.now();
  const earlier = options.compare === undefined ? undefined : readResults(options.compare);
  const machine = describeMachine();
  if (machine.loadAverage > machine.cores / 4)
    warn(`This machine is busy (load ${machine.loadAverage.toFixed(1)}): expect noise`);

  const running = await step(
    'Platform',
    () => platform.start(),
    () => 'as npm start, on free ports',
  );
  const skus = await addProducts(running.db, PRODUCTS);
  const tokens = await logIn(running.url, 'customer');
  const connection = await Connection.connect({ address: running.temporalAddress });
  const client = new Client({ connection });
  const { serverVersion } = await connection.workflowService.getSystemInfo({});

  const [bare, orders] = await step(
    'Load generators',
    () => startSubjects(running, { url: running.url, tokens, skus }),
    () => `${skus.length} products`,
  );
  const rounds = await runRounds(bare, orders, running);
  const { pids } = running;
  const memory = { API: memoryOf(pids.API), Worker: memoryOf(pids.Worker) };
  const histories = await step(
    'Histories',
    () => readHistories(running, client),
    ({ placed }) => `of ${placed.length} orders`,
  );
  const answers = [...rounds.warmUp, ...rounds.many, ...rounds.one].map((pair) => pair.orders);
  const { counts, problems } = await step(
    'Checks',
    () =>
      checkResult(running.db, client, {
        confirmed: answers.reduce((sum, { outcomes }) => sum + (outcomes[CONFIRMED] ?? 0), -HISTORIES),
        cancelled: HISTORIES,
      }),
    (checked) => (checked.problems.length > 0 ? 'failed' : `${checked.counts.orders} orders add up`),
  );
}

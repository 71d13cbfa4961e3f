import { parseArgs } from 'node:util';
import { StartFailure } from '../dev/failure.ts';
import { fail, paint, say, step, warn } from '../dev/report.ts';
import { measureCatalogue } from './catalogue.ts';
import { writeDocs, writeGrowthDocs } from './docs.ts';
import { measureGrowth, printGrowth } from './growth.ts';
import { describeMachine } from './machine.ts';
import { measureOrders } from './order-rounds.ts';
import { measurePlacements } from './placements.ts';
import { createPlatform, type Platform } from './platform.ts';
import { measureReads } from './reads.ts';
import { printComparison, printResults, readResults, saveResults } from './report.ts';

const usage = `Measures the platform against the least that each part of its work could cost, in one run.

  npm run bench                          about ten minutes
  npm run bench -- --quick               about three, and noisier
  npm run bench -- --compare old.json    and compares with an earlier run (bench/results/)
  npm run bench -- --docs                and writes the figures into docs/performance.md
  npm run bench -- --growth [--docs]     only what 20,000 orders in one run do to cost and memory, eight minutes
  npm run bench -- --growth --thousands 3

Settings to try: MAX_CACHED_WORKFLOWS, DATABASE_POOL_SIZE, WORKFLOW_LANE_LIMIT, MALLOC_ARENA_MAX, NODE_OPTIONS`;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    compare: { type: 'string' },
    docs: { type: 'boolean', default: false },
    growth: { type: 'boolean', default: false },
    thousands: { type: 'string', default: '20' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (options.help) say(usage);
else await main();

async function main(): Promise<void> {
  let stop = async (): Promise<void> => undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void stop().finally(() => process.exit(130)));
  }
  /** Runs `measure` on a platform of its own. */
  const onPlatform = async <T>(measure: (running: Platform) => Promise<T>): Promise<T> => {
    const platform = createPlatform();
    stop = () => platform.stop();
    try {
      const running = await step(
        'Platform',
        () => platform.start(),
        () => 'as npm start, on free ports',
      );
      return await measure(running);
    } finally {
      await platform.stop();
    }
  };
  try {
    const earlier = options.compare === undefined ? undefined : readResults(options.compare);
    const machine = describeMachine();
    if (machine.loadAverage > machine.cores / 4) {
      warn(`This machine is busy (load average ${machine.loadAverage}): the figures will be noisy`);
    }
    if (options.growth) {
      const thousands = Number(options.thousands);
      if (!Number.isInteger(thousands) || thousands < 1)
        throw new StartFailure('--thousands takes a whole number');
      const growth = await onPlatform((running) => measureGrowth(running, thousands));
      printGrowth(growth);
      if (options.docs) writeGrowthDocs(growth);
      say(paint.dim(`Results: ${saveResults({ at: new Date().toISOString(), machine, growth })}`));
      report(growth.problems);
      return;
    }
    const orders = await onPlatform((running) => measureOrders(running, options));
    const placements = await onPlatform(async (running) =>
      measurePlacements(await running.createDatabase('hot')),
    );
    const reads = await onPlatform((running) => measureReads(running, options));
    const catalogue = await onPlatform((running) => measureCatalogue(running, options));
    const results = { at: new Date().toISOString(), machine, orders, placements, reads, catalogue };
    printResults(results);
    if (earlier) printComparison(earlier, results);
    if (options.docs) writeDocs(results);
    say(paint.dim(`Results: ${saveResults(results)}`));
    report([...orders.problems, ...placements.problems]);
  } catch (error) {
    fail(error);
    process.exitCode = 1;
  }
}

function report(problems: string[]): void {
  for (const problem of problems) {
    fail(new Error(problem));
    process.exitCode = 1;
  }
}

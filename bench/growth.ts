import { Client, Connection } from '@temporalio/client';
import { paint, say, step } from '../dev/report.ts';
import { type Counts, checkRun } from './checks.ts';
import { memoryOf } from './machine.ts';
import { measureRound, type Round, spreadOf } from './measure.ts';
import { addProducts, logIn, untilSettled } from './orders.ts';
import type { Platform } from './platform.ts';
import { startGenerator } from './rounds.ts';

const CLIENTS = 40;
const PRODUCTS = 200;
const THOUSAND = 1000;
const WARM_UP_ORDERS = 1500;
const FIVE = 5;

/** What an order costs: those of the platform, without who takes the mail and who sends the orders. */
const PROCESSES = ['API', 'Worker', 'Temporal', 'Postgres'] as const;
/** Its work is the same for every order: where it costs more, the machine was slower. */
const REFERENCE = 'Load generator';
const SERVICES = ['API', 'Worker'] as const;

export interface GrowthPart {
  round: Round;
  /** Megabytes, after the thousand. */
  rssMb: Record<(typeof SERVICES)[number], number>;
}

export interface GrowthResults {
  settings: Record<string, string>;
  parts: GrowthPart[];
  counts: Counts;
  problems: string[];
}

/** Places so many thousands of orders, one after the other, on a platform without orders, and measures each. */
export async function measureGrowth(running: Platform, thousands: number): Promise<GrowthResults> {
  const skus = await addProducts(running.db, PRODUCTS);
  const generator = await step(
    'Load generator',
    async () =>
      startGenerator(
        new URL('load.ts', import.meta.url),
        {
          ...process.env,
          ORDER_LOAD: JSON.stringify({
            url: running.url,
            tokens: await logIn(running.url, 'customer'),
            skus,
          }),
        },
        running.log('load'),
      ),
    () => `${PRODUCTS} products`,
  );
  const subject = { name: 'orders', generator, settle: () => untilSettled(running.db) };
  const place = (operations: number) => measureRound(subject, { clients: CLIENTS, operations }, running.pids);
  const warmUp = await place(WARM_UP_ORDERS);
  const parts: GrowthPart[] = [];
  for (let done = 1; done <= thousands; done += 1) {
    const round = await place(THOUSAND);
    const rssMb = { API: memoryOf(running.pids.API).rssMb, Worker: memoryOf(running.pids.Worker).rssMb };
    parts.push({ round, rssMb });
    say(`  ${rowOf({ round, rssMb }, done).join('   ')}`);
  }
  const rounds = [warmUp, ...parts.map(({ round }) => round)];
  const connection = await Connection.connect({ address: running.temporalAddress });
  const { counts, problems } = await step(
    'Checks',
    () => checkRun(running.db, new Client({ connection }), rounds, { cancelled: 0, delivered: 0 }),
    (checked) => (checked.problems.length > 0 ? 'failed' : `${checked.counts.orders} orders add up`),
  );
  await connection.close();
  await generator.stop();
  return { settings: running.settings, parts, counts, problems };
}

/** CPU milliseconds of an order of a thousand, of all processes of the platform together. */
const costOf = ({ round }: GrowthPart): number => PROCESSES.reduce((sum, name) => sum + round.cpu[name]!, 0);

export const growthTitles = [
  'thousand',
  'orders/s',
  ...PROCESSES,
  'together',
  REFERENCE,
  '(others)',
  'API MB',
  'Worker MB',
];

/** A line of the table: orders a second, CPU milliseconds an order, megabytes. */
function rowOf(part: GrowthPart, thousand: number): string[] {
  const { round, rssMb } = part;
  return [
    String(thousand),
    round.perSecond.toFixed(1),
    ...PROCESSES.map((name) => round.cpu[name]!.toFixed(2)),
    costOf(part).toFixed(2),
    round.cpu[REFERENCE]!.toFixed(2),
    round.cpu['(others)']!.toFixed(2),
    ...SERVICES.map((name) => String(rssMb[name])),
  ];
}

export const growthRows = ({ parts }: GrowthResults): string[][] =>
  parts.map((part, index) => rowOf(part, index + 1));

/** What came of it: in the last thousand against the first, and, which says more, in the last five against the first five. */
export function growthSummary(results: GrowthResults): string[] {
  const { parts } = results;
  const several = Math.max(1, Math.min(FIVE, Math.floor(parts.length / 2)));
  const compare = (read: (part: GrowthPart) => number, number: number): string => {
    const middle = (some: GrowthPart[]) => spreadOf(some.map(read)).median;
    return (middle(parts.slice(-number)) / middle(parts.slice(0, number))).toFixed(2);
  };
  const each = [...PROCESSES, REFERENCE].map(
    (name) => `${name} ${compare(({ round }) => round.cpu[name]!, several)}`,
  );
  return [
    `CPU of an order, last thousand against first: ${compare(costOf, 1)}`,
    `CPU of an order, median of the last ${several} thousand against the first ${several}: ${compare(costOf, several)} (${each.join(', ')})`,
    ...SERVICES.map((name) => {
      const sizes = parts.slice(parts.length / 2).map(({ rssMb }) => rssMb[name]);
      return `Memory of ${name} in the second half: ${Math.min(...sizes)} to ${Math.max(...sizes)} MB`;
    }),
  ];
}

/** Prints the figures. */
export function printGrowth(results: GrowthResults): void {
  say(`\n${paint.bold(`Growth: each thousand of orders, ${CLIENTS} clients; CPU in ms an order`)}`);
  for (const cells of [growthTitles, ...growthRows(results)]) {
    say(`  ${cells.map((cell) => cell.padStart(14)).join(' ')}`);
  }
  for (const line of growthSummary(results)) say(`  ${paint.bold(line)}`);
}

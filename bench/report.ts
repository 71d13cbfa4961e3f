import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { paint, say } from '../dev/report.ts';
import { type CatalogueResults, catalogueRatios, printCatalogue } from './catalogue.ts';
import type { Counts } from './checks.ts';
import { describe, type Figure, figure } from './figures.ts';
import type { HistoryCost } from './histories.ts';
import type { Machine } from './machine.ts';
import { type Round, spreadOf } from './measure.ts';
import type { Lanes } from './orders.ts';
import { type PlacementResults, printPlacements } from './placements.ts';
import { printReads, type ReadResults } from './reads.ts';

export interface Pair {
  bare: Round;
  order: Round;
}

export interface Results {
  at: string;
  machine: Machine;
  orders: OrderResults;
  placements: PlacementResults;
  reads: ReadResults;
  /** Earlier runs had none. */
  catalogue?: CatalogueResults;
}

export interface OrderResults {
  versions: { temporal: string; postgres: string };
  plan: Record<string, number>;
  many: Pair[];
  one: Pair[];
  /** A constant rate of orders, half of what 40 clients get done. */
  open: Round;
  bursts: { plain: Round; order: Round }[];
  lanes: { mixed: Lanes; burst: Lanes };
  histories: { placed: HistoryCost[]; cancelled: HistoryCost[]; delivered: HistoryCost[] };
  memory: Record<string, { rssMb: number; peakMb: number }>;
  counts: Counts;
  problems: string[];
}

export function printResults(results: Results): void {
  const { machine, orders, placements, reads, catalogue } = results;
  const { versions, memory, histories, counts, lanes, open } = orders;
  heading('Machine');
  say(
    `  ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, load average before ${machine.loadAverage}`,
  );
  say(`  Node ${machine.node}, Temporal server ${versions.temporal}, Postgres ${versions.postgres}`);

  heading('CPU milliseconds per operation, 40 clients (medians)');
  printCpu(results);

  heading('An order');
  for (const [name, costs] of [
    ['placed', histories.placed],
    ['placed and cancelled', histories.cancelled],
    ['paid, shipped, delivered', histories.delivered],
  ] as const) {
    const median = (read: (cost: HistoryCost) => number) => spreadOf(costs.map(read)).median;
    const [events, tasks, actions] = [
      median((cost) => cost.events),
      median((cost) => cost.workflowTasks),
      median((cost) => cost.actions),
    ];
    say(
      `  ${name.padEnd(24)} ${events} history events, ${tasks} workflow tasks, ${actions} billable actions`,
    );
  }
  const eager = histories.placed.filter((cost) => cost.eager).length / histories.placed.length;
  say(`  ${'started eagerly'.padEnd(24)} ${percent(eager)} of the ${histories.placed.length} newest`);
  say(
    `  ${'notification workflows'.padEnd(24)} ${counts.notificationWorkflows} (messages that failed at the first try)`,
  );

  heading('Lanes');
  for (const [name, { workflow, direct }] of Object.entries(lanes)) {
    const share = percent(direct / (workflow + direct));
    say(`  ${name.padEnd(24)} ${workflow} orders placed by their workflows, ${direct} directly (${share})`);
  }

  heading(`Latency at a constant ${(open.operations / open.seconds).toFixed(0)} orders a second`);
  const most = Math.max(...open.histogram.map(({ count }) => count));
  for (const { below, count } of open.histogram) {
    const bar = '█'.repeat(Math.round((40 * count) / most));
    say(`  ${`< ${below} ms`.padStart(12)} ${String(count).padStart(6)} ${bar}`);
  }
  say(`  p50 ${open.p50.toFixed(1)} ms, p99 ${open.p99.toFixed(1)} ms`);

  heading('Memory');
  for (const [name, { rssMb, peakMb }] of Object.entries(memory)) {
    say(`  ${name.padEnd(22)} ${rssMb} MB at the end, peak ${peakMb} MB`);
  }

  heading('Rates and latencies: median (min to max) of the rounds');
  say('  (a) bare: an empty workflow, started eagerly, until its result is there');
  say('  (b) order: POST /v1/orders until it answers; the rate includes handing over the last message');
  for (const each of figuresOf(results)) say(`  ${describe(each)}`);
  printPlacements(placements);
  printReads(reads);
  if (catalogue) printCatalogue(catalogue);

  heading('Ratios');
  for (const each of ratiosOf(results)) say(`  ${paint.bold(describe(each))}`);
}

function printCpu(results: Results): void {
  say(`  ${''.padEnd(16)}${['bare workflow', 'order'].map((title) => title.padStart(15)).join('')}`);
  for (const [name, ...values] of cpuRows(results)) {
    say(`  ${name!.padEnd(16)}${values.map((value) => value.padStart(15)).join('')}`);
  }
}

/** Process, bare workflow, order: processor time of one operation in milliseconds. */
export const cpuRows = ({ orders: { many } }: Results): string[][] =>
  Object.keys(many[0]?.order.cpu ?? {}).map((name) => [
    name,
    ...(['bare', 'order'] as const).map((side) =>
      spreadOf(many.map((pair) => pair[side].cpu[name] ?? 0)).median.toFixed(2),
    ),
  ]);

/** What the ratio is of, its median, and its span. */
export const ratioRows = (results: Results): string[][] =>
  ratiosOf(results).map(({ name, digits, spread: { median, min, max } }) => [
    name,
    median.toFixed(digits),
    `${min.toFixed(digits)} to ${max.toFixed(digits)}`,
  ]);

const figuresOf = ({ orders: { many, one, bursts } }: Results): Figure[] => [
  ...(['bare', 'order'] as const).flatMap((side) => [
    figure(
      `${side}, 40 clients`,
      '/s',
      1,
      many.map((pair) => pair[side].perSecond),
    ),
    figure(
      `${side}, 40 clients, p50`,
      'ms',
      1,
      many.map((pair) => pair[side].p50),
    ),
    figure(
      `${side}, 40 clients, p99`,
      'ms',
      1,
      many.map((pair) => pair[side].p99),
    ),
  ]),
  figure(
    'bare, started eagerly',
    '%',
    0,
    many.map(({ bare }) => (100 * (bare.outcomes['eager'] ?? 0)) / bare.operations),
  ),
  ...(['bare', 'order'] as const).flatMap((side) => [
    figure(
      `${side}, 1 client, p50`,
      'ms',
      1,
      one.map((pair) => pair[side].p50),
    ),
    figure(
      `${side}, 1 client, p99`,
      'ms',
      1,
      one.map((pair) => pair[side].p99),
    ),
  ]),
  ...(['plain', 'order'] as const).flatMap((side) => [
    figure(
      `${side}, burst, accepted`,
      '/s',
      1,
      bursts.map((round) => round[side].answeredPerSecond),
    ),
    figure(
      `${side}, burst, p99`,
      'ms',
      1,
      bursts.map((round) => round[side].p99),
    ),
  ]),
];

/** Of the two halves of the same round, one right after the other: a busy machine slows down both. */
const ratiosOf = ({ orders: { many, one, bursts }, placements, reads, catalogue }: Results): Figure[] => [
  figure(
    'order/bare workflow, 1 client, p99',
    '',
    2,
    one.map(({ bare, order }) => order.p99 / bare.p99),
  ),
  figure(
    'order/bare workflow, 1 client, p50',
    '',
    2,
    one.map(({ bare, order }) => order.p50 / bare.p50),
  ),
  figure(
    'order/bare workflow, 40 clients, rate',
    '',
    2,
    many.map(({ bare, order }) => order.perSecond / bare.perSecond),
  ),
  figure(
    'burst accepted/plain Express, rate',
    '',
    2,
    bursts.map(({ plain, order }) => order.answeredPerSecond / plain.answeredPerSecond),
  ),
  figure(
    'hot item, queue/one by one, rate',
    '',
    2,
    placements.rounds.map(({ alone, queued }) => queued / alone),
  ),
  figure(
    'GET an order/bare Express, rate',
    '',
    2,
    reads.rates.map(({ bare, order }) => order.perSecond / bare.perSecond),
  ),
  ...reads.growth.reads.map(({ name, rounds }) =>
    figure(
      `${name}, p95 many/few`,
      '',
      2,
      rounds.map((round) => round.many.p95 / round.few.p95),
    ),
  ),
  ...(catalogue ? catalogueRatios(catalogue) : []),
];

export function printComparison(before: Results, after: Results): void {
  heading(`Compared with ${before.at}`);
  const earlier = [...figuresOf(before), ...ratiosOf(before)];
  for (const { name, unit, digits, spread } of [...figuresOf(after), ...ratiosOf(after)]) {
    const old = earlier.find((candidate) => candidate.name === name)?.spread.median;
    if (old === undefined) continue;
    const change = `${old.toFixed(digits)} -> ${spread.median.toFixed(digits)} ${unit}`;
    say(`  ${name.padEnd(38)} ${change.padEnd(24)} ${percent(spread.median / old - 1, '+')}`);
  }
}

export const readResults = (file: string): Results => JSON.parse(readFileSync(file, 'utf8')) as Results;

/** Writes the results to `bench/results/` and returns the file's name. */
export function saveResults<T extends { at: string }>(results: T): string {
  const folder = fileURLToPath(new URL('results/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  const file = `${folder}${results.at.replaceAll(':', '-')}.json`;
  writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`);
  return file;
}

const heading = (text: string): void => say(`\n${paint.bold(text)}`);

const percent = (share: number, plus = ''): string => `${share > 0 ? plus : ''}${(share * 100).toFixed(0)}%`;

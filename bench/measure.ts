import { cpuOf, cpuOfMachine } from './machine.ts';
import type { Answers, Generator, Load } from './rounds.ts';

export interface Subject {
  name: string;
  generator: Generator;
  /** Waits for what goes on after the last answer; the clock stops after it. */
  settle(): Promise<void>;
}

export interface Round {
  operations: number;
  seconds: number;
  /** Settled, and all that follows done. */
  perSecond: number;
  /** Answered. */
  answeredPerSecond: number;
  p50: number;
  p95: number;
  p99: number;
  /** How many operations took less than so many milliseconds and not less than the bound before. */
  histogram: { below: number; count: number }[];
  outcomes: Answers['outcomes'];
  /** CPU milliseconds per operation, by process; `(others)` is what else ran on this machine. */
  cpu: Record<string, number>;
}

/** Runs one round of a subject, with the CPU time that each process used for it. */
export async function measureRound(
  { generator, settle }: Subject,
  load: Load,
  pids: Record<string, number>,
): Promise<Round> {
  const processes = Object.entries({ ...pids, 'Load generator': generator.pid });
  const before = { machine: cpuOfMachine(), own: processes.map(([, pid]) => cpuOf(pid)) };
  const began = performance.now();
  const { latencies, outcomes } = await generator.run(load);
  const answered = (performance.now() - began) / 1000;
  await settle();
  const seconds = (performance.now() - began) / 1000;
  const used = processes.map(([, pid], index) => cpuOf(pid) - before.own[index]!);
  const others = cpuOfMachine() - before.machine - sum(used);

  const operations = latencies.length;
  const cpu = processes.map(([name], index) => [name, used[index]! / operations] as const);
  latencies.sort((a, b) => a - b);
  return {
    operations,
    seconds,
    perSecond: operations / seconds,
    answeredPerSecond: operations / answered,
    p50: percentile(latencies, 0.5),
    p95: percentile(latencies, 0.95),
    p99: percentile(latencies, 0.99),
    histogram: histogramOf(latencies),
    outcomes,
    cpu: { ...Object.fromEntries(cpu), '(others)': others / operations },
  };
}

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);

/** Bounds a fifth of a decade apart, from a millisecond. */
function histogramOf(latencies: number[]): Round['histogram'] {
  const counts = new Map<number, number>();
  for (const latency of latencies) {
    const bin = Math.max(0, Math.ceil(5 * Math.log10(latency)));
    counts.set(bin, (counts.get(bin) ?? 0) + 1);
  }
  const bins = [...counts.keys()];
  const [first, last] = [Math.min(...bins), Math.max(...bins)];
  return Array.from({ length: last - first + 1 }, (_, index) => ({
    below: Number((10 ** ((first + index) / 5)).toPrecision(2)),
    count: counts.get(first + index) ?? 0,
  }));
}

/** Of sorted values, the nearest rank. */
const percentile = (sorted: number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

export interface Spread {
  median: number;
  min: number;
  max: number;
}

export function spreadOf(values: number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

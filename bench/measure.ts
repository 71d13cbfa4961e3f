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
  perSecond: number;
  p50: number;
  p95: number;
  p99: number;
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
    p50: percentile(latencies, 0.5),
    p95: percentile(latencies, 0.95),
    p99: percentile(latencies, 0.99),
    outcomes,
    cpu: { ...Object.fromEntries(cpu), '(others)': others / operations },
  };
}

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);

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

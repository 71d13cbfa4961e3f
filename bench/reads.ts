import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import { connect } from '../db/connect.ts';
import { demoUsers } from '../db/demo-data.ts';
import { startChild, untilReady } from '../dev/child.ts';
import { addPastOrders } from '../dev/past-orders.ts';
import { freePort, host } from '../dev/ports.ts';
import { fail, paint, say, step } from '../dev/report.ts';
import { answers } from '../dev/services.ts';
import { measureRound, type Round, type Spread, spreadOf } from './measure.ts';
import { logIn } from './orders.ts';
import { createPlatform, type Platform } from './platform.ts';
import type { ReadLoad } from './read-load.ts';
import { type Load, startGenerator } from './rounds.ts';

const CLIENTS = 40;
/** What a growing table does to a read shows best where nothing queues for the processor. */
const FEW_CLIENTS = 2;
const READ_ORDERS = 1000;
const plans = {
  full: { rounds: 5, seconds: 4, warmUpSeconds: 3, few: 20_000, many: 2_000_000 },
  quick: { rounds: 3, seconds: 1.5, warmUpSeconds: 1, few: 20_000, many: 200_000 },
};
type Plan = (typeof plans)['full'];

export interface ReadResults {
  /** `GET /v1/orders/:id`, and a bare Express handler that runs the same statement, by turns. */
  rates: { bare: Round; order: Round }[];
  /** Reads with few and with many orders in the table, and how long it took to add them. */
  growth: {
    few: number;
    many: number;
    seconds: number;
    reads: { name: string; few: Round[]; many: Round[] }[];
  };
}

/** Measures reads on a platform without orders: the rate of one, then what millions of orders make of all. */
export async function measureReads(running: Platform, { quick = false } = {}): Promise<ReadResults> {
  const plan = quick ? plans.quick : plans.full;
  const [customer] = await logIn(running.url, 'customer');
  const [staff] = await logIn(running.url, 'staff');
  await fill(running, 0, plan.few);
  const paths = await someOrders(running);
  const get = { url: running.url, token: staff!, paths };
  const rates = await measureRates(running, get, plan);
  const growth = await measureGrowth(running, plan, {
    'GET /v1/orders/:id': get,
    'list of all': { ...get, paths: ['/v1/orders'] },
    "a customer's list": { ...get, token: customer!, paths: ['/v1/orders'] },
    'list by status': { ...get, paths: ['/v1/orders?status=delivered', '/v1/orders?status=rejected'] },
    'list by sku': { ...get, paths: ['/v1/orders?sku=PAST-0', '/v1/orders?sku=PAST-499'] },
  });
  return { rates, growth };
}

async function measureRates(running: Platform, get: ReadLoad, plan: Plan): Promise<ReadResults['rates']> {
  const port = await freePort();
  const bare = await startChild({
    name: 'Bare Express',
    command: process.execPath,
    args: ['--import', 'tsx', fileURLToPath(new URL('bare/reads.ts', import.meta.url))],
    env: { ...running.environment, PORT: String(port) },
    ipc: true,
    logFile: running.log('bare-reads'),
  });
  const url = `http://${host}:${port}`;
  await untilReady(bare, () => answers(`${url}/livez`));
  const sides = {
    bare: await startReader(running, 'bare Express', { ...get, url }, { 'Bare Express': bare.pid }),
    order: await startReader(running, 'GET /v1/orders/:id', get),
  };
  try {
    const pair = async (seconds: number) => ({
      bare: await sides.bare.measure({ clients: CLIENTS, seconds }),
      order: await sides.order.measure({ clients: CLIENTS, seconds }),
    });
    await pair(plan.warmUpSeconds);
    const rates: ReadResults['rates'] = [];
    for (let round = 0; round < plan.rounds; round += 1) rates.push(await pair(plan.seconds));
    return rates;
  } finally {
    await Promise.all([sides.bare.stop(), sides.order.stop(), bare.stop()]);
  }
}

async function measureGrowth(
  running: Platform,
  { rounds, seconds, few, many }: Plan,
  loads: Record<string, ReadLoad>,
): Promise<ReadResults['growth']> {
  const readers = await Promise.all(
    Object.entries(loads).map(([name, load]) => startReader(running, name, load)),
  );
  const timeAll = async (): Promise<Round[][]> => {
    const timed: Round[][] = readers.map(() => []);
    for (let round = 0; round <= rounds; round += 1) {
      for (const [index, reader] of readers.entries()) {
        const one = await reader.measure({ clients: FEW_CLIENTS, seconds: seconds / 2 });
        if (round > 0) timed[index]!.push(one);
      }
    }
    return timed;
  };
  try {
    const withFew = await timeAll();
    const began = performance.now();
    await fill(running, few, many);
    const filled = (performance.now() - began) / 1000;
    const withMany = await timeAll();
    const reads = readers.map(({ name }, index) => ({ name, few: withFew[index]!, many: withMany[index]! }));
    return { few, many, seconds: filled, reads };
  } finally {
    await Promise.all(readers.map((reader) => reader.stop()));
  }
}

/** A load generator that reads; what `pids` names beside the API and Postgres is in its rounds too. */
async function startReader(
  running: Platform,
  name: string,
  load: ReadLoad,
  pids: Record<string, number> = {},
) {
  const environment = { ...process.env, READ_LOAD: JSON.stringify(load) };
  const generator = await startGenerator(
    new URL('read-load.ts', import.meta.url),
    environment,
    running.log('reads'),
  );
  const { API, Postgres } = running.pids;
  return {
    name,
    async measure(timed: Load): Promise<Round> {
      const settle = async () => undefined;
      const round = await measureRound({ name, generator, settle }, timed, { API, Postgres, ...pids });
      const wrong = Object.keys(round.outcomes).filter((outcome) => outcome !== '200');
      if (wrong.length > 0) throw new Error(`${name} was answered with ${wrong.join(', ')}`);
      return round;
    },
    stop: () => generator.stop(),
  };
}

/** Adds orders of the past, and lets Postgres tidy up as it would by itself some minutes later. */
const fill = ({ environment }: Platform, from: number, to: number): Promise<void> =>
  step(
    'Past orders',
    async () => {
      const databaseUrl = environment['DATABASE_URL']!;
      await addPastOrders(databaseUrl, {
        from,
        to,
        regular: demoUsers.find(({ role }) => role === 'customer')!.id,
      });
      const { db } = connect(databaseUrl, { max: 1, name: 'holdfast-bench', statementSeconds: 0 });
      await sql`vacuum (analyze)`.execute(db);
      await db.destroy();
    },
    () => `${to.toLocaleString('en')} in the table`,
  );

/** The paths of orders from all over the table. */
async function someOrders({ db }: Platform): Promise<string[]> {
  const rows = await db.selectFrom('ordering.orders').select('id').orderBy('id').limit(READ_ORDERS).execute();
  return rows.map(({ id }) => `/v1/orders/${id}`);
}

/** Prints the figures, ratios last. */
export function printReads({ rates, growth }: ReadResults): void {
  say(`\n${paint.bold('Reads, 40 clients: median (min to max) of the rounds')}`);
  for (const side of ['bare', 'order'] as const) {
    const name = side === 'bare' ? 'bare Express' : 'GET /v1/orders/:id';
    const cpu = (process: string) =>
      spreadOf(rates.map((pair) => pair[side].cpu[process] ?? 0)).median.toFixed(2);
    line(
      name,
      '/s',
      0,
      rates.map((pair) => pair[side].perSecond),
    );
    line(
      `${name}, p95`,
      'ms',
      1,
      rates.map((pair) => pair[side].p95),
    );
    const server = side === 'bare' ? 'Bare Express' : 'API';
    say(`  ${`${name}, CPU`.padEnd(34)} ${server} ${cpu(server)} ms, Postgres ${cpu('Postgres')} ms`);
  }
  const { few, many, seconds, reads } = growth;
  const [small, large] = [few.toLocaleString('en'), many.toLocaleString('en')];
  say(
    `\n${paint.bold(`Reads, ${FEW_CLIENTS} clients, p95 in ms with ${small} and with ${large} orders`)} (added in ${seconds.toFixed(0)} s)`,
  );
  for (const read of reads) {
    line(
      `${read.name}, ${small}`,
      'ms',
      2,
      read.few.map(({ p95 }) => p95),
    );
    line(
      `${read.name}, ${large}`,
      'ms',
      2,
      read.many.map(({ p95 }) => p95),
    );
  }
  say(`\n${paint.bold('Ratios of reads')}`);
  line(
    'GET /v1/orders/:id / bare Express',
    '',
    2,
    rates.map(({ bare, order }) => order.perSecond / bare.perSecond),
  );
  for (const read of reads) {
    const before = spreadOf(read.few.map(({ p95 }) => p95)).median;
    line(
      `p95 of ${read.name}, growth`,
      '',
      2,
      read.many.map(({ p95 }) => p95 / before),
    );
  }
}

function line(name: string, unit: string, digits: number, values: number[]): void {
  const { median, min, max }: Spread = spreadOf(values);
  const figures = [median, min, max].map((value) => value.toFixed(digits));
  say(`  ${name.padEnd(38)} ${figures[0]!.padStart(8)} ${unit.padEnd(3)} (${figures[1]!} to ${figures[2]!})`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const platform = createPlatform();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void platform.stop().finally(() => process.exit(130)));
  }
  try {
    const running = await step(
      'Platform',
      () => platform.start(),
      () => 'as npm start, on free ports',
    );
    printReads(await measureReads(running, { quick: process.argv.includes('--quick') }));
  } catch (error) {
    fail(error);
    process.exitCode = 1;
  } finally {
    await platform.stop();
  }
}

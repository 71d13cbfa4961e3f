import { Client } from 'pg';
import { connect } from '../db/connect.ts';
import { demoUsers } from '../db/demo-data.ts';
import { addPastOrders } from '../dev/past-orders.ts';
import { freePort, host } from '../dev/ports.ts';
import { paint, say, step } from '../dev/report.ts';
import { startApi } from '../dev/services.ts';
import { describe, figure } from './figures.ts';
import { measureRound, type Round } from './measure.ts';
import { logIn } from './orders.ts';
import type { Platform } from './platform.ts';
import type { ReadLoad } from './read-load.ts';
import { type Load, startGenerator } from './rounds.ts';

const CLIENTS = 40;
/** What a growing table does to a read shows best where nothing queues for the processor. */
const FEW_CLIENTS = 2;
const READ_ORDERS = 1000;
const plans = {
  full: { rounds: 5, seconds: 4, growthSeconds: 1.2, warmUpSeconds: 3, few: 20_000, many: 2_000_000 },
  quick: { rounds: 3, seconds: 1.5, growthSeconds: 0.8, warmUpSeconds: 2, few: 20_000, many: 200_000 },
};
type Plan = (typeof plans)['full'];

export interface ReadResults {
  /** `GET /v1/orders/:id`, and a bare Express handler that runs the same statement, by turns. */
  rates: { bare: Round; order: Round }[];
  /** Reads of few and of many orders, by turns, and how long it took to add the many. */
  growth: { few: number; many: number; seconds: number; reads: { name: string; rounds: GrowthRound[] }[] };
}

interface GrowthRound {
  few: Round;
  many: Round;
}

/** Measures reads on a platform without orders: the rate of one, then what millions of orders make of all. */
export async function measureReads(running: Platform, { quick = false } = {}): Promise<ReadResults> {
  const plan = quick ? plans.quick : plans.full;
  const few = await addTwin(running);
  const many = { url: running.url, databaseUrl: running.environment['DATABASE_URL']!, pid: running.pids.API };
  try {
    await fill(running, few, 0, plan.few);
    await fill(running, many, 0, plan.few);
    const rates = await measureRates(running, many, plan);
    const began = performance.now();
    await fill(running, many, plan.few, plan.many);
    const seconds = (performance.now() - began) / 1000;
    const reads = await measureGrowth(running, few, many, plan);
    return { rates, growth: { few: plan.few, many: plan.many, seconds, reads } };
  } finally {
    await few.stop();
  }
}

/** An API process and its database. */
interface Server {
  url: string;
  databaseUrl: string;
  pid: number;
}

/** A second API on a second database of the same Postgres: the two are measured by turns, on a machine in the same mood. */
async function addTwin(running: Platform): Promise<Server & { stop(): Promise<void> }> {
  const databaseUrl = await running.createDatabase('few');
  const port = await freePort();
  const environment = {
    ...running.environment,
    DATABASE_URL: databaseUrl,
    PORT: String(port),
    API_WORKER: 'false',
  };
  const api = await startApi({ env: environment, logFile: running.log('api-few') }, port);
  return {
    url: `http://${host}:${port}`,
    databaseUrl,
    pid: api.pid,
    stop: () => api.stop(),
  };
}

async function asSuperuser(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(statement);
  await client.end();
}

async function measureRates(
  running: Platform,
  { url, databaseUrl, pid }: Server,
  plan: Plan,
): Promise<ReadResults['rates']> {
  const port = await freePort();
  const bareUrl = `http://${host}:${port}`;
  const bare = await running.startServer(
    'bare-reads',
    new URL('bare/reads.ts', import.meta.url),
    { ...running.environment, DATABASE_URL: databaseUrl, PORT: String(port) },
    bareUrl,
  );
  const [token] = await logIn(url, 'staff');
  const get = { url, token: token!, paths: await someOrders(databaseUrl) };
  const sides = {
    bare: await startReader(running, { ...get, url: bareUrl }, bare.pid),
    order: await startReader(running, get, pid),
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
  few: Server,
  many: Server,
  { rounds, growthSeconds, warmUpSeconds }: Plan,
): Promise<ReadResults['growth']['reads']> {
  const [withFew, withMany] = [await readsOf(few), await readsOf(many)];
  const reads: ReadResults['growth']['reads'] = [];
  for (const [name, load] of Object.entries(withFew)) {
    const sides = {
      few: await startReader(running, load, few.pid),
      many: await startReader(running, withMany[name]!, many.pid),
    };
    try {
      const pair = async (seconds: number) => ({
        few: await sides.few.measure({ clients: FEW_CLIENTS, seconds }),
        many: await sides.many.measure({ clients: FEW_CLIENTS, seconds }),
      });
      await pair(warmUpSeconds);
      const timed: GrowthRound[] = [];
      for (let round = 0; round < rounds; round += 1) timed.push(await pair(growthSeconds));
      reads.push({ name, rounds: timed });
    } finally {
      await Promise.all([sides.few.stop(), sides.many.stop()]);
    }
  }
  return reads;
}

/** The reads that must not mind how many orders there are. */
async function readsOf({ url, databaseUrl }: Server): Promise<Record<string, ReadLoad>> {
  const [customer] = await logIn(url, 'customer');
  const [staff] = await logIn(url, 'staff');
  const asStaff = (...paths: string[]): ReadLoad => ({ url, token: staff!, paths });
  return {
    'GET /v1/orders/:id': asStaff(...(await someOrders(databaseUrl))),
    'list of all': asStaff('/v1/orders'),
    "a customer's list": { url, token: customer!, paths: ['/v1/orders'] },
    'list by status': asStaff('/v1/orders?status=delivered', '/v1/orders?status=rejected'),
    'list by sku': asStaff('/v1/orders?sku=PAST-0', '/v1/orders?sku=PAST-9'),
  };
}

/** A load generator that reads from the server with this pid. */
export async function startReader(running: Platform, load: ReadLoad, pid: number) {
  const environment = { ...process.env, READ_LOAD: JSON.stringify(load) };
  const generator = await startGenerator(
    new URL('read-load.ts', import.meta.url),
    environment,
    running.log('reads'),
  );
  const subject = { name: 'reads', generator, settle: async () => undefined };
  return {
    async measure(timed: Load): Promise<Round> {
      const round = await measureRound(subject, timed, { Server: pid, Postgres: running.pids.Postgres });
      const wrong = Object.keys(round.outcomes).filter((outcome) => outcome !== '200');
      if (wrong.length > 0) throw new Error(`Reads were answered with ${wrong.join(', ')}`);
      return round;
    },
    stop: () => generator.stop(),
  };
}

/** Adds orders of the past, and has Postgres tidy up now as it would by itself some minutes later. */
const fill = (running: Platform, { databaseUrl }: Server, from: number, to: number): Promise<void> =>
  step(
    'Past orders',
    async () => {
      const url = new URL(running.superuserUrl);
      url.pathname = new URL(databaseUrl).pathname;
      const regular = demoUsers.find(({ role }) => role === 'customer')!.id;
      await addPastOrders(url.href, { from, to, regular });
      await asSuperuser(url.href, 'vacuum (analyze)');
      await asSuperuser(url.href, 'checkpoint');
    },
    () => `${to.toLocaleString('en')} in the table`,
  );

/** The paths of orders from all over the table. */
async function someOrders(databaseUrl: string): Promise<string[]> {
  const { db } = connect(databaseUrl, { max: 1, name: 'holdfast-bench' });
  const rows = await db.selectFrom('ordering.orders').select('id').orderBy('id').limit(READ_ORDERS).execute();
  await db.destroy();
  return rows.map(({ id }) => `/v1/orders/${id}`);
}

/** Prints the figures. */
export function printReads({ rates, growth }: ReadResults): void {
  say(`\n${paint.bold(`Reads, ${CLIENTS} clients: median (min to max) of the rounds`)}`);
  for (const [side, name] of [
    ['bare', 'bare Express'],
    ['order', 'GET /v1/orders/:id'],
  ] as const) {
    const of = (read: (round: Round) => number) => rates.map((pair) => read(pair[side]));
    line(
      name,
      '/s',
      0,
      of((round) => round.perSecond),
    );
    line(
      `${name}, p95`,
      'ms',
      1,
      of((round) => round.p95),
    );
    line(
      `${name}, CPU of the server`,
      'ms',
      2,
      of((round) => round.cpu['Server']!),
    );
    line(
      `${name}, CPU of Postgres`,
      'ms',
      2,
      of((round) => round.cpu['Postgres']!),
    );
  }
  const { few, many, seconds, reads } = growth;
  const sizes = { few: few.toLocaleString('en'), many: many.toLocaleString('en') };
  say(
    `\n${paint.bold(`Reads, ${FEW_CLIENTS} clients, p95 of ${sizes.few} and of ${sizes.many} orders`)} (added in ${seconds.toFixed(0)} s)`,
  );
  for (const { name, rounds } of reads) {
    for (const size of ['few', 'many'] as const) {
      line(
        `${name}, ${sizes[size]}`,
        'ms',
        2,
        rounds.map((round) => round[size].p95),
      );
    }
  }
}

const line = (...measured: Parameters<typeof figure>): void => say(`  ${describe(figure(...measured))}`);

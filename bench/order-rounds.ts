import { Client, Connection } from '@temporalio/client';
import { connect } from '../db/connect.ts';
import { demoUsers } from '../db/demo-data.ts';
import { freePort, host } from '../dev/ports.ts';
import { say, step } from '../dev/report.ts';
import { checkRun } from './checks.ts';
import { costOf } from './histories.ts';
import { memoryOf } from './machine.ts';
import { measureRound, type Round, spreadOf, type Subject } from './measure.ts';
import {
  addProducts,
  cancelOrders,
  deliverOrders,
  type Lanes,
  lanesOf,
  logIn,
  newestOrders,
  untilSettled,
} from './orders.ts';
import type { Platform } from './platform.ts';
import type { OrderResults } from './report.ts';
import { type Load, startGenerator } from './rounds.ts';

const plans = {
  full: { rounds: 3, warmUpSeconds: 6, manySeconds: 12, oneSeconds: 5, burstOrders: 2000, openSeconds: 20 },
  quick: { rounds: 3, warmUpSeconds: 2.5, manySeconds: 3, oneSeconds: 1, burstOrders: 200, openSeconds: 4 },
};
const MANY_CLIENTS = 40;
/** What an API process takes through the workflows without a thought. */
const FEW_CLIENTS = 6;
const PRODUCTS = 200;
const HISTORIES = 20;

/** Measures placing orders against bare workflows and plain Express, by turns, on a platform without orders. */
export async function measureOrders(running: Platform, { quick = false } = {}): Promise<OrderResults> {
  const connection = await Connection.connect({ address: running.temporalAddress });
  const client = new Client({ connection });
  const { serverVersion } = await connection.workflowService.getSystemInfo({});
  const subjects = await step(
    'Load generators',
    () => startSubjects(running),
    () => `${PRODUCTS} products`,
  );

  const plan = quick ? plans.quick : plans.full;
  const pair = async (clients: number, seconds: number) => ({
    bare: await measured(subjects.bare, { clients, seconds }, running),
    order: await measured(subjects.order, { clients, seconds }, running),
  });
  const warmUp = await pair(MANY_CLIENTS, plan.warmUpSeconds);
  const many: OrderResults['many'] = [];
  const one: OrderResults['one'] = [];
  for (let round = 0; round < plan.rounds; round += 1) many.push(await pair(MANY_CLIENTS, plan.manySeconds));
  for (let round = 0; round < plan.rounds; round += 1) one.push(await pair(1, plan.oneSeconds));
  const lanesBefore = await lanesOf(running.url);
  const mixed: Round[] = [];
  for (const clients of [FEW_CLIENTS, MANY_CLIENTS, FEW_CLIENTS]) {
    mixed.push(await measured(subjects.order, { clients, seconds: plan.manySeconds / 2 }, running));
  }
  const lanes = {
    mixed: difference(await lanesOf(running.url), lanesBefore),
    burst: { workflow: 0, direct: 0 },
  };

  const rate = 0.5 * spreadOf(many.map(({ order }) => order.perSecond)).median;
  const open = await measured(subjects.order, { perSecond: rate, seconds: plan.openSeconds }, running);

  const load = { clients: MANY_CLIENTS, operations: plan.burstOrders, burst: true };
  const beforeBursts = await lanesOf(running.url);
  const bursts: OrderResults['bursts'] = [];
  for (let round = 0; round < plan.rounds; round += 1) {
    bursts.push({
      plain: await measured(subjects.plain, load, running),
      order: await measured(subjects.order, load, running),
    });
  }
  lanes.burst = difference(await lanesOf(running.url), beforeBursts);

  const memory = { API: memoryOf(running.pids.API), Worker: memoryOf(running.pids.Worker) };
  const histories = await step(
    'Histories',
    () => readHistories(running, client),
    ({ placed }) => `of ${placed.length} orders, then cancelled or delivered`,
  );
  const { counts, problems } = await step(
    'Checks',
    () =>
      checkRun(
        running.db,
        client,
        [...[warmUp, ...many, ...one, ...bursts].map(({ order }) => order), ...mixed, open],
        { cancelled: HISTORIES, delivered: HISTORIES },
      ),
    (checked) => (checked.problems.length > 0 ? 'failed' : `${checked.counts.orders} orders add up`),
  );
  await Promise.all([
    ...Object.values(subjects).map(({ generator }) => generator.stop()),
    connection.close(),
  ]);
  const versions = { temporal: serverVersion ?? 'unknown', postgres: running.postgresVersion };
  return { versions, plan, many, one, open, bursts, lanes, histories, memory, counts, problems };
}

function difference(after: Lanes, before: Lanes): Lanes {
  return { workflow: after.workflow - before.workflow, direct: after.direct - before.direct };
}

async function startSubjects(running: Platform): Promise<Record<'bare' | 'order' | 'plain', Subject>> {
  const { url, db, environment, log } = running;
  const plainDatabaseUrl = await running.createDatabase('plain');
  const skus = await addProducts(db, PRODUCTS);
  const tokens = await logIn(url, 'customer');
  const loadOn = (target: string) => ({
    ...process.env,
    ORDER_LOAD: JSON.stringify({ url: target, tokens, skus }),
  });
  const { db: plainDb } = connect(plainDatabaseUrl, { max: 1, name: 'holdfast-bench' });
  await addProducts(plainDb, PRODUCTS);
  await plainDb.destroy();
  const plainPort = await freePort();
  const plainUrl = `http://${host}:${plainPort}`;
  await running.startServer(
    'plain',
    new URL('plain/main.ts', import.meta.url),
    {
      DATABASE_URL: plainDatabaseUrl,
      PORT: String(plainPort),
      PLAIN_CUSTOMER: demoUsers.find(({ role }) => role === 'customer')!.id,
    },
    plainUrl,
  );
  const [bare, order, plain] = await Promise.all([
    startGenerator(new URL('bare/main.ts', import.meta.url), environment, log('bare')),
    startGenerator(new URL('load.ts', import.meta.url), loadOn(url), log('load')),
    startGenerator(new URL('load.ts', import.meta.url), loadOn(plainUrl), log('load')),
  ]);
  return {
    bare: { name: 'bare workflows', generator: bare, settle: async () => undefined },
    order: { name: 'orders', generator: order, settle: () => untilSettled(db) },
    plain: { name: 'plain Express', generator: plain, settle: async () => undefined },
  };
}

function describeLoad(load: Load): string {
  if ('perSecond' in load) return `${load.perSecond.toFixed(0)} a second`;
  const clients = load.clients === 1 ? '1 client' : `${load.clients} clients`;
  return 'operations' in load ? `${load.operations} from ${clients}` : clients;
}

async function measured(subject: Subject, load: Load, { pids }: Platform): Promise<Round> {
  const round = await measureRound(subject, load, pids);
  const what = `${subject.name}, ${describeLoad(load)}`;
  const latency = `p50 ${round.p50.toFixed(1)} ms`;
  say(
    `  ${what.padEnd(26)} ${round.perSecond.toFixed(1).padStart(6)}/s   ${latency.padEnd(14)} ${JSON.stringify(round.outcomes)}`,
  );
  return round;
}

/** What orders cost Temporal: some of the newest ones as placed, then half of them cancelled, half shipped and delivered. */
async function readHistories({ db, url }: Platform, client: Client): Promise<OrderResults['histories']> {
  const ids = await newestOrders(db, 2 * HISTORIES);
  const costs = (some: string[]) => Promise.all(some.map((id) => costOf(client, `order-${id}`)));
  const placed = await costs(ids);
  const [staff] = await logIn(url, 'staff');
  const [toCancel, toDeliver] = [ids.slice(0, HISTORIES), ids.slice(HISTORIES)];
  await cancelOrders(url, staff!, toCancel);
  await deliverOrders(url, staff!, toDeliver);
  await untilSettled(db);
  await Promise.all(ids.map((id) => client.workflow.getHandle(`order-${id}`).result()));
  return { placed, cancelled: await costs(toCancel), delivered: await costs(toDeliver) };
}

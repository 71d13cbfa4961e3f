import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { type RunningTemporalCluster, startTemporalCluster } from '../dev/temporal-cluster.ts';
import type { Order } from '../domain/order.ts';
import { endWithProcess } from './harness/end-with-process.ts';
import { type Answer, type Api, orderOf } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import type { Process } from './harness/processes.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

const HISTORY_SHARDS = 8;
const NAMESPACE = 'shop';
const SKU = 'SHARED';

const { temporalServer } = inject('parts');
const why = 'missing' in temporalServer ? ` (skipped: ${temporalServer.missing})` : '';

describe.skipIf('missing' in temporalServer)(
  `two APIs and two workers on a Temporal cluster${why}`,
  { timeout: 120_000 },
  () => {
    let folder: string;
    let cluster: RunningTemporalCluster;
    let letGo: () => void;
    let stack: TestStack;
    let [first, second]: { api: Api; process: Process }[] = [];
    let workers: Process[];
    let token: string;
    /** All orders so far. */
    const placed: Order[] = [];

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'holdfast-cluster-'));
      const shared = inject('parts');
      if ('missing' in shared.temporalServer) return;
      cluster = await startTemporalCluster({
        programs: shared.temporalServer,
        cli: shared.temporalCli,
        superuserUrl: shared.superuserUrl,
        historyShards: HISTORY_SHARDS,
        namespace: NAMESPACE,
        folder,
      });
      letGo = endWithProcess(() => [cluster]);
      stack = await startStack({
        parts: { ...shared, temporalAddress: cluster.address },
        namespace: NAMESPACE,
        api: false,
      });
      [first, second] = [await stack.startApi(), await stack.startApi()];
      workers = await Promise.all([stack.startWorker(), stack.startWorker()]);
      token = await first.api.login('john.smith@example.com');
      await stack.stock(SKU, 1000);
    });
    afterAll(async () => {
      await stack.stop();
      await cluster.stop();
      letGo();
      rmSync(folder, { recursive: true, force: true });
    });

    const place = (api: Api, key: string, card = 'tok_ok'): Promise<Answer<Order>> =>
      api.place(token, orderOf([{ sku: SKU, quantity: 1 }], { payment: { method: 'card', token: card } }), {
        'idempotency-key': key,
        prefer: 'wait=20',
      });

    const cli = async (...args: string[]): Promise<string> => {
      const where = ['--address', cluster.address, '--namespace', NAMESPACE];
      return (await promisify(execFile)(stack.parts.temporalCli, [...args, ...where])).stdout;
    };

    /** The pids of the processes that started workflows, and of those that ran their tasks. */
    const pidsIn = async (orders: Order[]) => {
      const started = new Set<number>();
      const ran = new Set<number>();
      const pidOf = (identity: string | null | undefined) => Number(identity?.split('@')[0]);
      for (const { workflowId } of orders) {
        const { events } = await stack.temporal.workflow.getHandle(workflowId).fetchHistory();
        for (const event of events ?? []) {
          const { workflowExecutionStartedEventAttributes: start } = event;
          const task = event.workflowTaskCompletedEventAttributes ?? event.activityTaskStartedEventAttributes;
          if (start) started.add(pidOf(start.identity));
          if (task) ran.add(pidOf(task.identity));
        }
      }
      return { started, ran };
    };

    test('the same keys through both APIs at once are one order each, and all four processes do part of the work', async () => {
      const apis = [first!, second!];
      const all = [...apis.map(({ process }) => process), ...workers].map(({ pid }) => pid);
      // What is tried again is given to any process that asks for work.
      await eventually(
        'both APIs have started workflows, and all four processes have run tasks',
        async () => {
          const keys = Array.from({ length: 24 }, () => randomUUID());
          const answers = await Promise.all(
            keys.map((key, index) =>
              Promise.all(apis.map(({ api }) => place(api, key, index % 2 ? 'tok_flaky' : 'tok_ok'))),
            ),
          );
          for (const [one, other] of answers) {
            expect(one).toMatchObject({ status: 201, body: { status: 'confirmed' } });
            expect(other).toMatchObject({ status: 201, body: { status: 'confirmed', id: one!.body.id } });
            placed.push(one!.body);
          }
          const { started, ran } = await pidsIn(placed);
          return started.size === 2 && all.every((pid) => ran.has(pid));
        },
        50,
      );
      expect(new Set(placed.map(({ id }) => id)).size).toBe(placed.length);
      expect(await stack.reserved(SKU)).toBe(placed.length);
    });

    test('an order that one API took is cancelled through the other', async () => {
      const { body: order } = await place(first!.api, randomUUID());
      const cancelled = await second!.api.request('DELETE', `/v1/orders/${order.id}`, { token });
      expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
      const result = await stack.temporal.workflow.getHandle(order.workflowId).result();
      expect(result).toMatchObject({ status: 'cancelled', paymentStatus: 'voided' });
      expect(await stack.reserved(SKU)).toBe(placed.length);
    });

    test('an API and a worker are killed in the middle of a burst: the others go on with everything', async () => {
      const keys = Array.from({ length: 40 }, () => randomUUID());
      const answers: Promise<Answer<Order> | undefined>[] = [];
      let killed: Promise<unknown> | undefined;
      for (const [index, key] of keys.entries()) {
        const { api } = index % 2 ? first! : second!;
        answers.push(place(api, key, index % 5 ? 'tok_ok' : 'tok_slow').catch(() => undefined));
        if (index !== 24) continue;
        await Promise.race(answers);
        killed = Promise.all([first!.process.kill(), workers[0]!.kill()]);
      }
      const answered = await Promise.all(answers);
      await killed;
      expect(answered).toContain(undefined);

      // As careful clients do: the same keys, elsewhere, until they are settled.
      const orders = await Promise.all(
        keys.map((key, index) =>
          eventually(
            'the order is settled',
            async () => {
              const { status, body } = await place(second!.api, key, index % 5 ? 'tok_ok' : 'tok_slow');
              expect([201, 202]).toContain(status);
              return status === 201 && body;
            },
            60,
          ),
        ),
      );
      for (const [index, answer] of answered.entries()) {
        if (answer) expect(answer.body.id).toBe(orders[index]!.id);
      }
      expect(new Set(orders.map(({ status, paymentStatus }) => `${status}, ${paymentStatus}`))).toEqual(
        new Set(['confirmed, authorized']),
      );
      placed.push(...orders);
      expect(await stack.reserved(SKU)).toBe(placed.length);
      await expectStockAddsUp(stack.db);
      await expectMoneyAddsUp(stack.db);
    });

    test('orders of the process that is gone end through the one that is left', async () => {
      await Promise.all(
        placed.map(async ({ id, number, workflowId }) => {
          await eventually(
            `order ${number} is cancelled`,
            async () => {
              const { status, body } = await second!.api.request('DELETE', `/v1/orders/${id}`, { token });
              expect([200, 202]).toContain(status);
              return body.status === 'cancelled';
            },
            60,
          );
          const result = await stack.temporal.workflow.getHandle(workflowId).result();
          expect(result).toMatchObject({ status: 'cancelled', paymentStatus: 'voided' });
        }),
      );
      const { ran } = await pidsIn(placed);
      expect(ran).toContain(workers[1]!.pid);
      expect(await stack.reserved(SKU)).toBe(0);
      await expectStockAddsUp(stack.db);
      await expectMoneyAddsUp(stack.db);
    });

    test('the temporal CLI finds every order on the cluster, by its status', async () => {
      const describedCluster = JSON.parse(await cli('operator', 'cluster', 'describe', '-o', 'json'));
      expect(describedCluster).toMatchObject({
        persistenceStore: 'postgres12',
        historyShardCount: HISTORY_SHARDS,
      });
      const query = `WorkflowType = 'order' AND OrderStatus = 'cancelled' AND ExecutionStatus = 'Completed'`;
      await eventually(`all ${placed.length + 1} orders are found`, async () => {
        const { count } = JSON.parse(await cli('workflow', 'count', '--query', query, '-o', 'json'));
        return Number(count) === placed.length + 1;
      });
    });
  },
);

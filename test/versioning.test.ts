import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import proto from '@temporalio/proto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Order } from '../domain/order.ts';
import { writeWorkflowBundle } from '../workers/bundle.ts';
import { type Api, orderOf } from './harness/http.ts';
import { expectStockAddsUp } from './harness/invariants.ts';
import type { Process } from './harness/processes.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

const { VERSIONING_BEHAVIOR_AUTO_UPGRADE } = proto.temporal.api.enums.v1.VersioningBehavior;

/** Build `a` is this code, build `b` the next one. They are rolled out as docs/operations.md tells. */
let stack: TestStack;
let folder: string;
let nextBundle: string;
let api: Api;
let token: string;
let workerA: Process;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-versioning-'));
  nextBundle = join(folder, 'next-build.js');
  await writeWorkflowBundle(nextBundle, fileURLToPath(new URL('harness/next-build.ts', import.meta.url)));
  stack = await startStack({ api: false });
  api = (await stack.startApi({ API_WORKER: 'false' })).api;
  token = await api.login('john.smith@example.com');
  workerA = await stack.startWorker({ WORKER_BUILD_ID: 'a' });
  await makeCurrent('a');
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await stack.stop();
  rmSync(folder, { recursive: true, force: true });
});

const temporalCli = (command: string, ...more: string[]) => {
  const where = ['--address', stack.parts.temporalAddress, '--namespace', 'versioning'];
  return promisify(execFile)(stack.parts.temporalCli, [...command.split(' '), ...more, ...where]);
};

/** Temporal refuses it until the workers of the build have polled. */
const makeCurrent = (build: string) =>
  eventually(
    `build ${build} is current`,
    () =>
      temporalCli(
        `worker deployment set-current-version --yes --deployment-name holdfast --build-id ${build}`,
      ),
    40,
  );

const place = async (where = api): Promise<Order> => {
  const { status, body } = await where.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
  expect({ status, order: body.status }).toEqual({ status: 201, order: 'confirmed' });
  return body;
};

const cancel = async ({ id, workflowId }: Order): Promise<void> => {
  const { status, body } = await api.request<Order>('DELETE', `/v1/orders/${id}`, { token });
  expect({ status, order: body.status }).toEqual({ status: 200, order: 'cancelled' });
  expect(await stack.temporal.workflow.getHandle(workflowId).result()).toMatchObject({ status: 'cancelled' });
};

/** The builds that completed the workflow tasks of an order, in turn, as its history names them; at least one. */
const buildsOf = ({ workflowId }: Order): Promise<string[]> =>
  eventually('a workflow task is completed', async () => {
    const { events } = await stack.temporal.workflow.getHandle(workflowId).fetchHistory();
    const builds = (events ?? [])
      .filter((event) => event.workflowTaskCompletedEventAttributes)
      .map((event) => event.workflowTaskCompletedEventAttributes?.deploymentVersion)
      .map((version) => `${version?.deploymentName}:${version?.buildId}`);
    return builds.length > 0 && builds.filter((build, index) => build !== builds[index - 1]);
  });

const describeOrder = async ({ workflowId }: Order) => {
  const { memo, raw } = await stack.temporal.workflow.getHandle(workflowId).describe();
  return { memo, versioning: raw.workflowExecutionInfo?.versioningInfo };
};

test('an order begun under one build ends under the next, which has new orders from their first task', async () => {
  const begun = await place();
  expect(await buildsOf(begun)).toEqual(['holdfast:a']);

  await stack.startWorker({ WORKER_BUILD_ID: 'b', WORKFLOW_BUNDLE: nextBundle });
  await makeCurrent('b');
  await workerA.stop();

  await cancel(begun);
  expect(await buildsOf(begun)).toEqual(['holdfast:a', 'holdfast:b']);
  expect(await describeOrder(begun)).toMatchObject({
    memo: { endedBy: 'the next build' },
    versioning: {
      behavior: VERSIONING_BEHAVIOR_AUTO_UPGRADE,
      deploymentVersion: { deploymentName: 'holdfast', buildId: 'b' },
    },
  });

  const later = await place();
  expect(await buildsOf(later)).toEqual(['holdfast:b']);
  expect(await describeOrder(later)).toMatchObject({ memo: { begunBy: 'the next build' } });
});

test('an API of a build that is not current leaves its orders to the one that is', async () => {
  const { api: early } = await stack.startApi({ WORKER_BUILD_ID: 'c', WORKFLOW_BUNDLE: nextBundle });
  const order = await place(early);
  await cancel(order);
  expect(await buildsOf(order)).toEqual(['holdfast:b']);
});

test('after a step back, orders pinned to the newer build stay with it and the older one has the rest', async () => {
  const pinned = await place();
  expect(await buildsOf(pinned)).toEqual(['holdfast:b']);
  const query = `ExecutionStatus = 'Running' AND TemporalWorkerDeploymentVersion = 'holdfast:b'`;
  await eventually('the search finds the order', async () => {
    const { stdout } = await temporalCli('workflow list', '--query', query);
    return stdout.includes(pinned.workflowId);
  });
  const pin = '--versioning-override-behavior pinned --versioning-override-deployment-name holdfast';
  await temporalCli(
    `workflow update-options --yes ${pin} --versioning-override-build-id b`,
    '--query',
    query,
  );
  await eventually('the order is pinned', async () => {
    const { versioning } = await describeOrder(pinned);
    return versioning?.versioningOverride?.pinned?.version?.buildId === 'b';
  });

  await stack.startWorker({ WORKER_BUILD_ID: 'a' });
  await makeCurrent('a');
  await cancel(pinned);
  expect(await buildsOf(pinned)).toEqual(['holdfast:b']);
  expect(await buildsOf(await place())).toEqual(['holdfast:a']);
});

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { freePort } from '../dev/ports.ts';
import { orderOf } from './harness/http.ts';
import { startStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

/** A Temporal on which nothing was prepared for the platform. */
let server: ChildProcess;
let connection: Connection;
const folder = mkdtempSync(join(tmpdir(), 'holdfast-temporal-'));
const parts = { ...inject('parts') };

beforeAll(async () => {
  const port = await freePort();
  parts.temporalAddress = `127.0.0.1:${port}`;
  server = spawn(
    parts.temporalCli,
    [
      'server',
      'start-dev',
      '--headless',
      '--ip',
      '127.0.0.1',
      '--port',
      String(port),
      '--log-level',
      'error',
    ],
    { stdio: 'ignore', cwd: folder },
  );
  connection = await eventually('the server answers', async () => {
    const opened = await Connection.connect({ address: parts.temporalAddress, connectTimeout: 1000 });
    await opened.workflowService.describeNamespace({ namespace: 'default' });
    return opened;
  });
});
afterAll(async () => {
  await connection.close();
  server.kill();
  await once(server, 'exit');
  rmSync(folder, { recursive: true, force: true });
});

test('a Temporal that knows no search attributes gets them; orders are taken from the first moment', async () => {
  const stack = await startStack({ parts, namespace: 'default' });
  try {
    const lines = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]);
    const { status, body } = await stack.api.place(stack.tokens.john, lines);
    expect(status).toBe(201);
    const cancelled = await stack.api.request('DELETE', `/v1/orders/${body.id}`, {
      token: stack.tokens.john,
    });
    expect(cancelled.body).toMatchObject({ status: 'cancelled' });
    const { customAttributes } = await connection.operatorService.listSearchAttributes({
      namespace: 'default',
    });
    expect(Object.keys(customAttributes)).toEqual(expect.arrayContaining(['OrderStatus', 'CustomerId']));
  } finally {
    await stack.stop();
  }
});

test('the namespace is not there yet: orders are taken all the same, and their workflows follow when it is', async () => {
  const namespace = 'made-later';
  const stack = await startStack({ parts, namespace });
  const { john: token } = stack.tokens;
  try {
    const readiness = await stack.api.request('GET', '/readyz');
    expect(readiness.body).toMatchObject({ status: 'degraded', parts: { postgres: 'ok', temporal: 'down' } });
    const taken = await stack.api.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    expect(taken).toMatchObject({ status: 202, body: { status: 'pending' } });

    const create = ['operator', 'namespace', 'create', '--namespace', namespace];
    await promisify(execFile)(parts.temporalCli, [...create, '--address', parts.temporalAddress]);
    await eventually('the order is confirmed', async () => {
      const { body } = await stack.api.request('GET', `/v1/orders/${taken.body.id}`, { token });
      return body.status === 'confirmed';
    });
    const followed = await stack.temporal.workflow.getHandle(taken.body.workflowId).describe();
    expect(followed.status.name).toBe('RUNNING');
    const placed = await stack.api.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    expect(placed).toMatchObject({ status: 201, body: { status: 'confirmed' } });
    expect((await stack.api.request('GET', '/readyz')).body).toMatchObject({ status: 'ok' });
  } finally {
    await stack.stop();
  }
});

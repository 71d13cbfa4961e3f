import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Connection } from '@temporalio/client';
import { expect, inject, test } from 'vitest';
import { freePort } from '../dev/ports.ts';
import { orderOf } from './harness/http.ts';
import { startStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

test('a Temporal that knows no search attributes gets them; orders are taken from the first moment', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-search-'));
  const port = await freePort();
  const parts = inject('parts');
  const address = `127.0.0.1:${port}`;
  const server = spawn(
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
  try {
    await eventually('the server answers', async () => {
      const connection = await Connection.connect({ address, connectTimeout: 1000 });
      await connection.workflowService.describeNamespace({ namespace: 'default' });
      await connection.close();
      return true;
    });
    const stack = await startStack({ parts: { ...parts, temporalAddress: address }, namespace: 'default' });
    try {
      const lines = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]);
      const { status, body } = await stack.api.place(stack.tokens.john, lines);
      expect(status).toBe(201);
      const cancelled = await stack.api.request('DELETE', `/v1/orders/${body.id}`, {
        token: stack.tokens.john,
      });
      expect(cancelled.body).toMatchObject({ status: 'cancelled' });
      const { customAttributes } = await stack.temporal.connection.operatorService.listSearchAttributes({
        namespace: 'default',
      });
      expect(Object.keys(customAttributes)).toEqual(expect.arrayContaining(['OrderStatus', 'CustomerId']));
    } finally {
      await stack.stop();
    }
  } finally {
    server.kill();
    await once(server, 'exit');
    rmSync(folder, { recursive: true, force: true });
  }
});

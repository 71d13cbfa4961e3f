import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { WorkflowHandle } from '@temporalio/client';
import { DefaultLogger, type History, Runtime, Worker } from '@temporalio/worker';
import { describe, expect, inject, test } from 'vitest';
import { freePort } from '../dev/ports.ts';
import { address, orderOf } from './harness/http.ts';
import { startStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

/**
 * Orders that began under older code must go on under this one. Each history in histories/ is of a real run; after a
 * change of the workflows they must still replay. `RECORD_HISTORIES=<name of the release> npx vitest run
 * test/replay.test.ts` adds those of the present code; the old ones stay.
 */
const folder = join(import.meta.dirname, 'histories');
const recordAs = process.env.RECORD_HISTORIES;

Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { logging: { forward: {}, filter: 'error' } },
});

interface Stored {
  workflowId: string;
  history: History;
}

const replay = ({ workflowId, history }: Stored): Promise<void> =>
  Worker.runReplayHistory(
    { workflowBundle: { codePath: inject('parts').workflowBundle } },
    history,
    workflowId,
  );

describe('stored histories replay', () => {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.json'),
  );
  test.each(files)('%s', async (file) => {
    const stored = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Stored;
    await expect(replay(stored)).resolves.toBeUndefined();
  });

  test('there are some', () => {
    expect(files.length).toBeGreaterThanOrEqual(7);
  });

  test('a history of another story does not', async () => {
    const file = files.find((name) => name.includes('mail-server-down'))!;
    const stored = JSON.parse(
      readFileSync(join(folder, file), 'utf8').replaceAll('"name": "notification"', '"name": "another"'),
    ) as Stored;
    await expect(replay(stored)).rejects.toThrow(/nondetermin/i);
  });
});

describe.runIf(recordAs)('recording', () => {
  const expectRecorded = async (name: string, { workflowId }: WorkflowHandle) => {
    const { temporalCli, temporalAddress } = inject('parts');
    const { stdout } = await promisify(execFile)(
      temporalCli,
      [
        'workflow',
        'show',
        '-w',
        workflowId,
        '-o',
        'json',
        '--address',
        temporalAddress,
        '--namespace',
        'replay',
      ],
      { maxBuffer: 10_000_000 },
    );
    const history = JSON.parse(stdout) as { events: unknown[] };
    expect(history.events.length).toBeGreaterThan(2);
    writeFileSync(join(folder, recordAs!, `${name}.json`), JSON.stringify({ workflowId, history }, null, 1));
  };

  test('every path of an order', async () => {
    mkdirSync(join(folder, recordAs!), { recursive: true });
    const deadSmtp = { SMTP_URL: `smtp://127.0.0.1:${await freePort()}` };
    const stack = await startStack();
    await stack.stock('RECORDED', 100);
    const order = orderOf([{ sku: 'RECORDED', quantity: 1 }]);
    const handleOf = (workflowId: string) => stack.temporal.workflow.getHandle(workflowId);
    const expectRecordedAs = (name: string, workflowId: string) => expectRecorded(name, handleOf(workflowId));
    const place = async () => (await stack.api.place(stack.tokens.john, order)).body;
    const confirmed = await place();
    await eventually('its mail is sent', async () => (await stack.mailsAbout(confirmed.number)).length > 0);
    await expectRecordedAs('confirmed', confirmed.workflowId);

    const tooMany = orderOf([{ sku: 'RECORDED', quantity: 1000 }]);
    const rejected = (await stack.api.place(stack.tokens.john, tooMany)).body;
    await handleOf(rejected.workflowId).result();
    await expectRecordedAs('rejected', rejected.workflowId);

    const byUpdate = await place();
    await stack.api.request('POST', `/v1/orders/${byUpdate.id}/cancel`, {
      token: stack.tokens.john,
      body: { reason: 'by update' },
    });
    await handleOf(byUpdate.workflowId).result();
    await expectRecordedAs('cancelled-by-update', byUpdate.workflowId);

    const changed = await place();
    await stack.api.request('PATCH', `/v1/orders/${changed.id}`, {
      token: stack.tokens.john,
      body: { shippingAddress: { ...address, city: 'Shelbyville' }, note: 'moved' },
    });
    await expectRecordedAs('changed', changed.workflowId);

    const bySignal = await place();
    await handleOf(bySignal.workflowId).signal('cancel', { reason: 'by signal' });
    await handleOf(bySignal.workflowId).result();
    await expectRecordedAs('cancelled-by-signal', bySignal.workflowId);

    const byCancel = await place();
    await handleOf(byCancel.workflowId).cancel();
    await handleOf(byCancel.workflowId).result();
    await expectRecordedAs('cancelled-by-temporal', byCancel.workflowId);

    const twice = await place();
    await Promise.allSettled([
      handleOf(twice.workflowId).cancel(),
      handleOf(twice.workflowId).signal('cancel', 42),
      stack.api.request('DELETE', `/v1/orders/${twice.id}`, { token: stack.tokens.john }),
    ]);
    await handleOf(twice.workflowId).result();
    await expectRecordedAs('cancelled-through-many-doors', twice.workflowId);
    await stack.stop();

    const silent = await startStack({ environment: deadSmtp });
    const unsent = (await silent.api.place(silent.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }])))
      .body;
    await silent.api.request('DELETE', `/v1/orders/${unsent.id}`, { token: silent.tokens.john });
    await silent.temporal.workflow.getHandle(unsent.workflowId).result();
    await expectRecorded('mail-server-down', silent.temporal.workflow.getHandle(unsent.workflowId));
    await silent.stop();
  });

  test('a cancellation before the first task', async () => {
    const stack = await startStack({ api: false });
    const { api, process } = await stack.startApi({ API_WORKER: 'false' });
    const token = await api.login('john.smith@example.com');
    const { body } = await api.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]), {
      prefer: 'respond-async',
    });
    const handle = stack.temporal.workflow.getHandle(body.workflowId);
    await handle.cancel();
    await process.stop();
    await stack.startWorker();
    await handle.result();
    await expectRecorded('cancelled-before-the-first-task', handle);
    await stack.stop();
  });
});

import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { WorkflowHandle } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import type { History } from '@temporalio/worker';
import pg from 'pg';
import { describe, expect, inject, test } from 'vitest';
import { freePort } from '../dev/ports.ts';
import { EXAMPLE_WEBHOOK_SECRET } from '../config/env.ts';
import { signMockWebhook } from '../providers/webhooks/standard-webhooks.ts';
import { address, orderOf } from './harness/http.ts';
import { startReceiver } from './harness/receiver.ts';
import { replayHistory } from './harness/replay.ts';
import { startStack } from './harness/stack.ts';
import { eventually, untilLockedOut } from './harness/wait.ts';

/**
 * Orders that began under older code must go on under this one. Each history in histories/ is of a real run; after a
 * change of the workflows they must still replay. `RECORD_HISTORIES=<name of the release> npx vitest run
 * test/replay.test.ts` adds those of the present code; the old ones stay.
 */
const folder = join(import.meta.dirname, 'histories');
const recordAs = process.env.RECORD_HISTORIES;

interface Stored {
  workflowId: string;
  history: History;
}

const replay = ({ workflowId, history }: Stored): Promise<void> =>
  replayHistory(inject('parts').workflowBundle, history, workflowId);

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
  mkdirSync(join(folder, recordAs!), { recursive: true });
  writeFileSync(join(folder, recordAs!, `${name}.json`), JSON.stringify({ workflowId, history }, null, 1));
};

test('a step that outlasts its workflow task, beside one that hands over its message', async () => {
  const stack = await startStack({ environment: { SMTP_URL: `smtp://127.0.0.1:${await freePort()}` } });
  const { api, databaseUrl, db, tokens } = stack;
  const skus = ['OUTLAST-0', 'OUTLAST-1', 'OUTLAST-2'];
  for (const sku of skus) await stack.stock(sku, 5);
  const placed = await api.place(tokens.john, orderOf(skus.map((sku) => ({ sku, quantity: 5 }))));
  const { workflowId, lines } = placed.body;
  const handle = stack.temporal.workflow.getHandle(workflowId);
  const lock = async (sku: string) => {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    await client.query('begin');
    await client.query('select from inventory.stock where sku = $1 for update', [sku]);
    return async () => {
      await client.query('commit');
      await client.end();
    };
  };
  const [freeSecond, freeThird] = [await lock(skus[1]!), await lock(skus[2]!)];
  const ship = (line: number, updateId: string) => {
    const units = [{ lineId: lines[line]!.id, quantity: 1 }];
    return handle.executeUpdate('ship', { updateId, args: [{ carrier: 'UPS', lines: units }] });
  };
  const isThere = (updateId: string) =>
    stack.temporal.workflowService.pollWorkflowExecutionUpdate({
      namespace: stack.temporal.options.namespace,
      updateRef: { workflowExecution: { workflowId }, updateId },
      waitPolicy: {
        lifecycleStage:
          temporal.api.enums.v1.UpdateWorkflowExecutionLifecycleStage
            .UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED,
      },
    });
  const kinds = async (): Promise<string[]> =>
    (await handle.fetchHistory()).events!.map(
      (event) => Object.entries(event).find(([name, value]) => name.endsWith('Attributes') && value)![0],
    );

  // While one is kept, two more come, and so are given to the workflow in one task.
  const third = ship(2, randomUUID());
  await untilLockedOut(db);
  const sent = [];
  for (const [line, updateId] of [randomUUID(), randomUUID()].entries()) {
    sent.push(ship(line, updateId));
    await eventually('the update is there', async () => await isThere(updateId));
  }
  await freeThird();
  // The next task is that in which the first hears that its message is handed over, while the second still waits.
  await third;
  await eventually(
    'it has begun',
    async () => (await kinds()).at(-1) === 'workflowTaskStartedEventAttributes',
  );
  await freeSecond();
  await Promise.all(sent);

  const story = (await kinds()).map((kind) => kind.replace('EventAttributes', '')).join(' ');
  expect(story).toContain(
    'workflowExecutionUpdateCompleted markerRecorded startChildWorkflowExecutionInitiated',
  );
  await replay({ workflowId, history: await handle.fetchHistory() });
  if (recordAs) await expectRecorded('outlasts-a-task', handle);
  await stack.stop();
});

describe.runIf(recordAs)('recording', () => {
  test('every path of an order', async () => {
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

  test('the life of an order', async () => {
    const stack = await startStack({ environment: { RECONCILE_INTERVAL_SECONDS: '86400' } });
    await stack.stock('LIVED', 100);
    const { staff, john } = stack.tokens;
    const handleOf = (workflowId: string) => stack.temporal.workflow.getHandle(workflowId);
    const expectRecordedAs = (name: string, workflowId: string) => expectRecorded(name, handleOf(workflowId));
    const post = async (path: string, body: unknown = {}) =>
      (await stack.api.request('POST', path, { token: staff, body })).body;
    const place = async (token = 'tok_ok', quantity = 2, api = stack.api) => {
      const payment = { method: 'card', token };
      return (await api.place(john, orderOf([{ sku: 'LIVED', quantity }], { payment }))).body;
    };
    const webhook = async (orderId: string, type: string) => {
      const { body } = await stack.api.request('GET', `/v1/orders/${orderId}/payments`, { token: staff });
      const raw = JSON.stringify({ type, data: { paymentId: body.data[0].id } });
      const headers = signMockWebhook(EXAMPLE_WEBHOOK_SECRET, raw);
      await stack.api.request('POST', '/v1/payments/mock/webhook', { raw, headers });
    };

    const lived = await place();
    const [line] = lived.lines;
    const first = await post(`/v1/orders/${lived.id}/shipments`, {
      carrier: 'UPS',
      lines: [{ lineId: line!.id, quantity: 1 }],
    });
    await post(`/v1/shipments/${first.id}/deliver`);
    const second = await post(`/v1/orders/${lived.id}/shipments`, { carrier: 'UPS' });
    await post(`/v1/shipments/${second.id}/deliver`);
    await handleOf(lived.workflowId).result();
    await expectRecordedAs('delivered-in-two-parcels', lived.workflowId);

    const back = await post(`/v1/orders/${lived.id}/returns`, {
      lines: [{ lineId: line!.id, quantity: 1 }],
      reason: 'too many',
    });
    await post(`/v1/returns/${back.id}/approve`);
    await post(`/v1/returns/${back.id}/receive`);
    await handleOf(`return-${back.id}`).result();
    await expectRecordedAs('returned', `return-${back.id}`);
    const refund = await post(`/v1/orders/${lived.id}/refunds`, { amount: 100, reason: 'sorry' });
    await handleOf(`refund-${refund.id}`).result();
    await expectRecordedAs('refunded', `refund-${refund.id}`);

    const units = await place();
    await post(`/v1/orders/${units.id}/cancel`, { lines: [{ lineId: units.lines[0]!.id, quantity: 1 }] });
    await post(`/v1/orders/${units.id}/shipments`, { carrier: 'UPS' });
    await expectRecordedAs('a-unit-cancelled-the-rest-shipped', units.workflowId);

    const declined = await place('tok_declined');
    await handleOf(declined.workflowId).result();
    await expectRecordedAs('declined', declined.workflowId);
    await expectRecordedAs('paid-slowly', (await place('tok_slow')).workflowId);
    const flaky = await place('tok_flaky');
    await expectRecordedAs('paid-at-the-third-try', flaky.workflowId);

    const paid = await place('tok_async');
    await webhook(paid.id, 'payment.authorized');
    await eventually('it is paid', async () => {
      const { status } = await handleOf(paid.workflowId).query<{ status: string }>('status');
      return status === 'confirmed';
    });
    await expectRecordedAs('paid-by-webhook', paid.workflowId);
    const failed = await place('tok_async');
    await webhook(failed.id, 'payment.failed');
    await handleOf(failed.workflowId).result();
    await expectRecordedAs('failed-by-webhook', failed.workflowId);

    const slow = await stack.api.place(
      john,
      orderOf([{ sku: 'LIVED', quantity: 1 }], { payment: { method: 'card', token: 'tok_slow' } }),
      { prefer: 'respond-async' },
    );
    await stack.api.request('DELETE', `/v1/orders/${slow.body.id}`, { token: john });
    await handleOf(slow.body.workflowId).result();
    await expectRecordedAs('cancelled-while-the-company-thinks', slow.body.workflowId);

    const reconciled = await stack.temporal.workflow.start('reconcile', {
      taskQueue: 'orders',
      workflowId: 'reconcile-recorded',
    });
    await reconciled.result();
    await expectRecordedAs('reconciled', 'reconcile-recorded');
    await stack.stop();

    const hasty = await startStack({
      environment: { PAYMENT_TIMEOUT_SECONDS: '0.3', SHIP_WITHIN_HOURS: '0.0001' },
    });
    const order = (token: string) =>
      orderOf([{ sku: 'MOUSE-WL', quantity: 1 }], { payment: { method: 'card', token } });
    const unpaid = (await hasty.api.place(hasty.tokens.john, order('tok_async'))).body;
    await hasty.temporal.workflow.getHandle(unpaid.workflowId).result();
    await expectRecorded('not-paid-in-time', hasty.temporal.workflow.getHandle(unpaid.workflowId));
    const late = (await hasty.api.place(hasty.tokens.john, order('tok_ok'))).body;
    await eventually(
      'the stock manager is told',
      async () => (await hasty.mailsAbout(late.number)).length === 2,
    );
    await expectRecorded('late', hasty.temporal.workflow.getHandle(late.workflowId));
    await hasty.stop();
  });

  test('a webhook that is tried again', async () => {
    const receiver = await startReceiver();
    receiver.respond('/', (_received, response, earlier) =>
      response.writeHead(earlier === 0 ? 500 : 200).end(),
    );
    const stack = await startStack({ environment: { WEBHOOK_RETRY_SECONDS: '1' } });
    const ask = (path: string, body?: unknown) =>
      stack.api.request('POST', `/v1/webhook-endpoints${path}`, { token: stack.tokens.admin, body });
    const endpoint = (await ask('', { url: receiver.url('/') })).body;
    const delivery = (await ask(`/${endpoint.id}/test`, {})).body;
    const handle = stack.temporal.workflow.getHandle(`webhook-${delivery.id}`);
    await eventually('it is delivered', async () => (await handle.result()) === 'delivered');
    await expectRecorded('webhook-tried-again', handle);
    await stack.stop();
    await receiver.stop();
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

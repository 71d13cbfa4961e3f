import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import { createSideWorkflows } from '../client/side-workflows.ts';
import type { Order } from '../domain/order.ts';
import type { Return, ReturnCommand } from '../domain/returns.ts';
import { noCircuit } from './harness/no-circuit.ts';
import { onPlatform, type OrderLife, statusesOf, times } from './harness/order-life.ts';
import { expectProblem } from './harness/problems.ts';
import { eventually } from './harness/wait.ts';

let life: OrderLife;
onPlatform((started) => {
  life = started;
});

const requested = async (order: Order, quantity = 1): Promise<Return> => {
  const { status, body } = await life.requestReturn(order, quantity);
  expect(status).toBe(201);
  return body;
};

const find = async ({ id }: Return, token = life.stack.tokens.john): Promise<Return> =>
  (await life.api.request<Return>('GET', `/v1/returns/${id}`, { token })).body;

const handleOf = ({ id }: Return) => life.workflow({ workflowId: `return-${id}` });

/** Takes a return to its end: each step answers 200 and with where the return is. */
async function accept({ id }: Return): Promise<void> {
  expect(await life.advance(id, 'approve')).toMatchObject({ status: 200, body: { status: 'approved' } });
  expect(await life.advance(id, 'receive')).toMatchObject({ status: 200, body: { status: 'refunded' } });
}

/** Its units are back in stock and refunded, once. */
async function expectReturnedOnce(order: Order, quantity: number): Promise<void> {
  const { sku, unitPrice } = order.lines[0]!;
  expect((await life.movements(order)).filter(([type]) => type === 'return')).toEqual([['return', quantity]]);
  expect(await life.stockOf(sku)).toEqual({ onHand: 100 - order.lines[0]!.quantity + quantity, reserved: 0 });
  expect(await life.moved(order, 'refund')).toEqual([quantity * unitPrice]);
  expect(await life.read(order)).toMatchObject({
    status: 'delivered',
    paymentStatus: quantity < order.lines[0]!.quantity ? 'partially_refunded' : 'refunded',
    lines: [{ returnedQuantity: quantity }],
  });
}

describe('the way of a return', () => {
  test('requested, approved, received and refunded: stock, money, timeline, mails and workflow', async () => {
    const order = await life.delivered(3, { price: 1500 });
    const answer = await life.requestReturn(order, 2);
    expect(answer.status).toBe(201);
    const { id } = answer.body;
    expect(answer.headers.get('location')).toBe(`/v1/returns/${id}`);
    expect(answer.body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      orderId: order.id,
      status: 'requested',
      lines: [{ lineId: order.lines[0]!.id, quantity: 2 }],
      reason: 'too big',
      createdAt: expect.stringMatching(/Z$/),
      updatedAt: expect.stringMatching(/Z$/),
    });
    expect(await find(answer.body)).toEqual(answer.body);
    expect(await handleOf(answer.body).describe()).toMatchObject({
      type: 'return',
      status: { name: 'RUNNING' },
    });
    expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 97, reserved: 0 });

    await accept(answer.body);
    await expectReturnedOnce(order, 2);
    expect(await handleOf(answer.body).result()).toBe('refunded');
    expect((await life.paymentList(order)).at(-1)).toMatchObject({
      type: 'refund',
      status: 'succeeded',
      amount: 3000,
      reason: 'too big',
    });
    const ours = (await life.events(order)).slice((await life.events(order)).indexOf('return.requested'));
    expect(ours).toEqual([
      'return.requested',
      'return.approved',
      'return.received',
      'payment.refunded',
      'return.refunded',
    ]);
    const mails = await life.mails(order);
    expect(mails.filter((subject) => subject.includes('return'))).toEqual([
      'Your return for order # is approved',
      'Your return for order # is received',
      'Your return for order # is refunded',
      'Your return for order # is requested',
    ]);
    expect(await life.result(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
  });

  test('of all units: refunded', async () => {
    const order = await life.delivered(2);
    await accept(await requested(order, 2));
    await expectReturnedOnce(order, 2);
  });

  test('of two lines at once, asked for by staff', async () => {
    const [one, other] = [await life.goods(10, 1000), await life.goods(10, 300)] as const;
    const { body: order } = await life.place([
      { sku: one, quantity: 2 },
      { sku: other, quantity: 2 },
    ]);
    await life.deliver((await life.ship(order)).body);
    const lines = order.lines.map(({ id }) => ({ lineId: id, quantity: 1 }));
    const { status, body } = await life.requestReturn(order, 0, { token: life.stack.tokens.staff, lines });
    expect(status).toBe(201);
    await accept(body);
    expect(await life.moved(order, 'refund')).toEqual([1300]);
    expect(await life.stockOf(one)).toEqual({ onHand: 9, reserved: 0 });
    expect(await life.stockOf(other)).toEqual({ onHand: 9, reserved: 0 });
  });

  test('rejected: the stock and the money stay, and its units may be asked for again', async () => {
    const order = await life.delivered(2);
    const first = await requested(order, 2);
    expectProblem(await life.requestReturn(order, 1), 409, 'not_enough_units');
    expect(await life.advance(first.id, 'reject')).toMatchObject({
      status: 200,
      body: { status: 'rejected' },
    });
    expect(await handleOf(first).result()).toBe('rejected');
    expect(await life.read(order)).toMatchObject({
      paymentStatus: 'captured',
      lines: [{ returnedQuantity: 0 }],
    });
    const second = await requested(order, 2);
    await accept(second);
    await expectReturnedOnce(order, 2);
    const subjects = (await life.mails(order)).filter((subject) => subject.includes('return'));
    expect(subjects).toHaveLength(6);
  });

  test('each step once, in its order: the others hear 409 with where it is, repeated ones 200', async () => {
    const order = await life.delivered(2);
    const expectOnly = async (it: Return, at: string, repeats: ReturnCommand[], next: ReturnCommand[]) => {
      for (const command of ['approve', 'reject', 'receive'] as const) {
        if (next.includes(command)) continue;
        const before = await find(it);
        const answer = await life.advance(it.id, command);
        if (repeats.includes(command)) expect(answer).toMatchObject({ status: 200, body: before });
        else {
          expectProblem(answer, 409, 'invalid_transition');
          expect(answer.body).toMatchObject({ currentStatus: at });
        }
        expect(await find(it)).toEqual(before);
      }
    };
    const one = await requested(order);
    await expectOnly(one, 'requested', [], ['approve', 'reject']);
    await life.advance(one.id, 'approve');
    await expectOnly(one, 'approved', ['approve'], ['receive']);
    await life.advance(one.id, 'receive');
    await expectOnly(one, 'refunded', ['receive'], []);
    const other = await requested(order);
    await life.advance(other.id, 'reject');
    await expectOnly(other, 'rejected', ['reject'], []);
    await expectReturnedOnce(order, 1);
  });

  test('If-Match is the version of the order: an older one is 412 and changes nothing, a repeat is 200', async () => {
    const order = await life.delivered(2);
    const it = await requested(order);
    const stale = { 'if-match': `"${order.version}"` };
    const now = async () => ({ 'if-match': `"${(await life.read(order)).version}"` });
    for (const command of ['approve', 'reject'] as const) {
      expectProblem(await life.advance(it.id, command, stale), 412, 'version_conflict');
      expectProblem(await life.advance(it.id, command, { 'if-match': '3' }), 400, 'invalid_header');
    }
    expect(await find(it)).toEqual(it);
    const headers = { ...(await now()), 'idempotency-key': 'approve at a version' };
    expect(await life.advance(it.id, 'approve', headers)).toMatchObject({ status: 200 });
    expect(await life.advance(it.id, 'approve', headers)).toMatchObject({ status: 200 });
    expect(await life.advance(it.id, 'approve', stale)).toMatchObject({ status: 200 });
    expectProblem(await life.advance(it.id, 'receive', stale), 412, 'version_conflict');
    expect((await find(it)).status).toBe('approved');
    expect(await life.advance(it.id, 'receive', await now())).toMatchObject({ status: 200 });
    await expectReturnedOnce(order, 1);
  });

  test('of goods that cost nothing: refunded at once, without money', async () => {
    const order = await life.delivered(1, { price: 0 });
    const it = await requested(order);
    await accept(it);
    expect(await handleOf(it).result()).toBe('refunded');
    expect(await life.payments(order)).toEqual([]);
    expect(await life.read(order)).toMatchObject({ paymentStatus: 'none', lines: [{ returnedQuantity: 1 }] });
    expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 100, reserved: 0 });
  });

  test('of goods whose money was given back before: only what is left of it', async () => {
    const order = await life.delivered(2);
    await life.refund(order, { amount: 1500 });
    await accept(await requested(order, 1));
    expect(await life.moved(order, 'refund')).toEqual([1500, 500]);
    expect((await life.read(order)).paymentStatus).toBe('refunded');
    const last = await requested(order, 1);
    await accept(last);
    expect(await handleOf(last).result()).toBe('refunded');
    expect(await life.moved(order, 'refund')).toEqual([1500, 500]);
    expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 100, reserved: 0 });
    // Also who only follows the events hears that this one has ended.
    expect((await life.events(order)).slice(-2)).toEqual(['return.received', 'return.refunded']);
    const told = (await life.mails(order)).filter((subject) => subject.endsWith('is refunded'));
    expect(told).toHaveLength(2);
  });

  test('of goods that are not in the catalogue and not in stock any more: they are in stock again', async () => {
    const order = await life.delivered(1);
    const { sku } = order.lines[0]!;
    const { token } = { token: life.stack.tokens.staff };
    const deleted = await life.api.request('DELETE', `/v1/inventory/${sku}`, { token });
    expect(deleted.status).toBe(204);
    await accept(await requested(order));
    expect(await life.stockOf(sku)).toEqual({ onHand: 1, reserved: 0 });
  });

  test('received while the company takes longer than the caller waits: 200, and the refund follows', async () => {
    const order = await life.delivered(2);
    const it = await requested(order, 2);
    await life.advance(it.id, 'approve');
    const held = await life.stack.db.transaction().execute(async (trx) => {
      // The company cannot write its books.
      await sql`
        select from mock_company.payment_intents where id = ${await life.paymentId(order)} for update
      `.execute(trx);
      return await life.advance(it.id, 'receive', { prefer: 'wait=1' });
    });
    expect(held).toMatchObject({ status: 200, body: { status: 'received' } });
    expect(await handleOf(it).result()).toBe('refunded');
    await expectReturnedOnce(order, 2);
  });

  test('of goods whose stock is deleted at this very moment: they are in stock again', async () => {
    const order = await life.delivered(2);
    const { sku } = order.lines[0]!;
    const asked = await requested(order, 2);
    await life.api.request('DELETE', `/v1/inventory/${sku}`, { token: life.stack.tokens.staff });
    // The stock that is made for it the first time is gone at once.
    await sql`create sequence deletions`.execute(life.stack.db);
    await sql`
      create function delete_at_once() returns trigger language plpgsql as
      'begin if nextval(''deletions'') = 1 then return null; end if; return new; end'
    `.execute(life.stack.db);
    await sql`
      create trigger delete_at_once before insert on inventory.stock for each row
      when (new.sku = ${sql.lit(sku)}) execute function delete_at_once()
    `.execute(life.stack.db);
    await accept(asked);
    expect(await life.stockOf(sku)).toEqual({ onHand: 2, reserved: 0 });
    expect((await life.movements(order)).filter(([type]) => type === 'return')).toEqual([['return', 2]]);
    expect((await life.read(order)).lines[0]!.returnedQuantity).toBe(2);
  });
});

describe('what may be returned', () => {
  test('no more than was delivered, over all returns', async () => {
    const order = await life.delivered(3);
    expectProblem(await life.requestReturn(order, 4), 409, 'not_enough_units');
    const first = await requested(order, 2);
    expectProblem(await life.requestReturn(order, 2), 409, 'not_enough_units');
    await accept(first);
    expectProblem(await life.requestReturn(order, 2), 409, 'not_enough_units');
    await requested(order, 1);
    expectProblem(await life.requestReturn(order, 1), 409, 'not_enough_units');
  });

  test('ten at once: exactly as many as fit', async () => {
    const order = await life.delivered(3);
    const answers = await times(10, () => life.requestReturn(order, 1));
    const made = answers.filter(({ status }) => status === 201);
    expect(made).toHaveLength(3);
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expectProblem(answer, 409, 'not_enough_units');
    }
    await Promise.all(made.map(({ body }) => accept(body)));
    expect(await life.read(order)).toMatchObject({
      paymentStatus: 'refunded',
      lines: [{ returnedQuantity: 3 }],
    });
    expect(await life.moved(order, 'refund')).toEqual([1000, 1000, 1000]);
  });

  test('nothing before it is delivered: 409', async () => {
    const expectNone = async (order: Order) =>
      expectProblem(await life.requestReturn(order, 1), 409, 'invalid_transition');
    const order = await life.placed(1);
    await expectNone(order);
    const { body: parcel } = await life.ship(order);
    await expectNone(order);
    await expectNone(await life.placed(1, { card: 'tok_declined' }));
    await expectNone(await life.placed(1, { card: 'tok_async' }));
    const cancelled = await life.placed(1);
    await life.cancel(cancelled);
    await expectNone(cancelled);
    await life.deliver(parcel);
    await requested(order);
  });

  test('of a partly delivered order only what has arrived, while the order goes on', async () => {
    const order = await life.placed(5);
    const { body: first } = await life.shipUnits(order, 2);
    const { body: second } = await life.shipUnits(order, 1);
    await life.deliver(first);
    expectProblem(await life.requestReturn(order, 3), 409, 'not_enough_units');
    const it = await requested(order, 2);
    await accept(it);
    expect(await life.read(order)).toMatchObject({
      status: 'partially_shipped',
      paymentStatus: 'partially_refunded',
      lines: [{ shippedQuantity: 3, returnedQuantity: 2 }],
    });
    expectProblem(await life.requestReturn(order, 1), 409, 'not_enough_units');
    await life.deliver(second);
    await requested(order, 1);
    await life.deliver((await life.ship(order)).body);
    expect(await life.result(order)).toMatchObject({
      status: 'delivered',
      paymentStatus: 'partially_refunded',
    });
    expect(await life.stockOf(order.lines[0]!.sku)).toEqual({ onHand: 97, reserved: 0 });
  });

  test('only what can be read, of an order as its customer knows it', async () => {
    const order = await life.delivered(2);
    const { id: lineId } = order.lines[0]!;
    const ask = (body: object, headers = {}) =>
      life.api.request('POST', `/v1/orders/${order.id}/returns`, {
        token: life.stack.tokens.john,
        body: { lines: [{ lineId, quantity: 1 }], reason: 'too big', ...body },
        headers,
      });
    for (const body of [
      { lines: undefined },
      { lines: [] },
      { lines: [{ lineId, quantity: 0 }] },
      { lines: [{ lineId, quantity: -1 }] },
      { lines: [{ lineId: 'x', quantity: 1 }] },
      { lines: 'all' },
      { reason: undefined },
      { reason: '' },
      { status: 'refunded' },
    ]) {
      expectProblem(await ask(body), 422, 'validation_failed');
    }
    const unknown = await ask({ lines: [{ lineId: randomUUID(), quantity: 1 }] });
    expectProblem(unknown, 422, 'validation_failed', '/lines/0/lineId');
    const twice = [
      { lineId, quantity: 1 },
      { lineId, quantity: 2 },
    ];
    expectProblem(await ask({ lines: twice }), 409, 'not_enough_units');
    expectProblem(await ask({}, { 'if-match': '"0"' }), 412, 'version_conflict');
    expect((await ask({}, { 'if-match': `"${order.version}"` })).status).toBe(201);
  });

  test('an Idempotency-Key asks once, also ten at once, and refuses another body', async () => {
    const order = await life.delivered(20);
    const headers = { 'idempotency-key': 'return once' };
    const answers = await times(10, () => life.requestReturn(order, 2, { headers }));
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1);
    const again = await life.requestReturn(order, 2, { headers });
    expect(again).toMatchObject({ status: 201, body: answers[0]!.body });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expectProblem(await life.requestReturn(order, 1, { headers }), 422, 'idempotency_key_reused');
    const named = await life.requestReturn({ ...order, id: order.number }, 2, { headers });
    expect(named).toMatchObject({ status: 201, body: again.body });
    const capitals = again.body.id.toUpperCase();
    expect((await life.advance(again.body.id, 'approve', headers)).status).toBe(200);
    const approved = await life.advance(capitals, 'approve', headers);
    expect(approved.headers.get('idempotent-replayed')).toBe('true');
    expect((await life.advance(capitals, 'receive')).status).toBe(200);
    expect((await life.requestReturn(order, 2, { headers })).body.status).toBe('refunded');
    await expectReturnedOnce(order, 2);
  });
});

describe('who may do what', () => {
  test("somebody else's order and return do not exist; customers decide nothing", async () => {
    const order = await life.delivered(1);
    const { john, jane, staff } = life.stack.tokens;
    expectProblem(await life.requestReturn(order, 1, { token: jane }), 404, 'not_found');
    const it = await requested(order);
    const read = (token?: string) =>
      life.api.request('GET', `/v1/returns/${it.id}`, token === undefined ? {} : { token });
    expectProblem(await read(jane), 404, 'not_found');
    expectProblem(await read(), 401, 'unauthenticated');
    expect((await read(staff)).body).toEqual((await read(john)).body);
    for (const command of ['approve', 'reject', 'receive']) {
      const path = `/v1/returns/${it.id}/${command}`;
      expectProblem(await life.api.request('POST', path, { token: john }), 403, 'forbidden');
      expectProblem(await life.api.request('POST', path), 401, 'unauthenticated');
      expectProblem(await life.advance(randomUUID(), command as ReturnCommand), 404, 'not_found');
      expectProblem(await life.advance('42', command as ReturnCommand), 404, 'not_found');
    }
    expect((await find(it)).status).toBe('requested');
    const nobodys = await life.requestReturn({ ...order, id: randomUUID() }, 1);
    expectProblem(nobodys, 404, 'not_found');
  });
});

describe('many at once', () => {
  test('ten approve, then ten receive: once', async () => {
    const order = await life.delivered(2);
    const it = await requested(order, 2);
    const approved = await times(10, () => life.advance(it.id, 'approve'));
    expect(statusesOf(approved)).toEqual(Array(10).fill(200));
    const received = await times(10, () => life.advance(it.id, 'receive'));
    expect(statusesOf(received)).toEqual(Array(10).fill(200));
    expect(await handleOf(it).result()).toBe('refunded');
    await expectReturnedOnce(order, 2);
    expect((await life.events(order)).filter((type) => type.startsWith('return.'))).toHaveLength(4);
  });

  test('approved and rejected at the same moment: one wins, the other hears 409, and its workflow agrees', async () => {
    const order = await life.delivered(10);
    const all = await times(10, () => requested(order));
    await Promise.all(
      all.map(async (it, index) => {
        const approve = () => life.advance(it.id, 'approve');
        const reject = () => life.advance(it.id, 'reject');
        const answers =
          index % 2 === 0
            ? await Promise.all([approve(), reject()])
            : await Promise.all([reject(), approve()]);
        expect(statusesOf(answers)).toEqual([200, 409]);
        const { status } = await find(it);
        if (status === 'approved') await life.advance(it.id, 'receive');
        expect(await handleOf(it).result()).toBe(status === 'approved' ? 'refunded' : 'rejected');
      }),
    );
    const workflows = await Promise.all(all.map((it) => handleOf(it).describe()));
    expect(workflows.map(({ status }) => status.name)).toEqual(Array(10).fill('COMPLETED'));
  });

  test('approved and rejected at the same moment after its workflow was terminated: the same', async () => {
    const order = await life.delivered(10);
    const all = await times(10, () => requested(order));
    for (const it of all) {
      await handleOf(it).terminate('by a test');
      const commands: ReturnCommand[] = ['approve', 'reject', 'reject', 'approve'];
      const answers = await Promise.all(commands.map((command) => life.advance(it.id, command)));
      expect(statusesOf(answers)).toEqual([200, 200, 409, 409]);
      const { status } = await find(it);
      if (status === 'approved') await life.advance(it.id, 'receive');
      expect(await handleOf(it).result()).toBe(status === 'approved' ? 'refunded' : 'rejected');
    }
  });

  test('a start of its workflow that arrives when the return has ended starts nothing', async () => {
    const order = await life.delivered(1);
    const returned = await requested(order);
    await accept(returned);
    expect(await handleOf(returned).result()).toBe('refunded');
    const { startReturn } = createSideWorkflows({ client: life.stack.temporal }, noCircuit);
    expect(await startReturn({ ...returned, status: 'requested' }, order.number)).toBe(false);
    expect((await handleOf(returned).describe()).status.name).toBe('COMPLETED');
  });

  test('a return and refunds by staff at the same moment: never more than was captured', async () => {
    const order = await life.delivered(2);
    const it = await requested(order, 2);
    await life.advance(it.id, 'approve');
    await Promise.all([
      life.advance(it.id, 'receive'),
      ...Array.from({ length: 5 }, () => life.refund(order, { amount: 400 })),
    ]);
    expect(await handleOf(it).result()).toBe('refunded');
    await eventually('all is refunded', async () => (await life.read(order)).paymentStatus === 'refunded');
    const refunds = await life.moved(order, 'refund');
    expect(refunds.reduce((sum, amount) => sum + amount, 0)).toBe(2000);
  });
});

describe('by the operator', () => {
  test('temporal workflow update execute approves and receives', async () => {
    const order = await life.delivered(2);
    const it = await requested(order, 2);
    const workflowId = `return-${it.id}`;
    await life.update(workflowId, 'approve', {});
    expect(await handleOf(it).query('status')).toBe('approved');
    expect((await find(it)).status).toBe('approved');
    await life.update(workflowId, 'receive');
    expect(await handleOf(it).result()).toBe('refunded');
    expect((await find(it)).status).toBe('refunded');
    await expectReturnedOnce(order, 2);
    expect((await life.advance(it.id, 'receive')).status).toBe(200);
  });

  test('temporal workflow update execute rejects; what is illegal is refused, and nothing changes', async () => {
    const order = await life.delivered(1);
    const it = await requested(order);
    await expect(handleOf(it).executeUpdate('receive', { args: [{}] })).rejects.toMatchObject({
      cause: { type: 'invalid_transition' },
    });
    expect((await find(it)).status).toBe('requested');
    await life.update(`return-${it.id}`, 'reject', { by: 'ops' });
    expect(await handleOf(it).result()).toBe('rejected');
    expect((await find(it)).status).toBe('rejected');
    await expect(life.update(`return-${it.id}`, 'approve')).rejects.toThrow('Command failed');
  });

  test('a terminated return goes on with the next command, at every step', async () => {
    const order = await life.delivered(2);
    const it = await requested(order, 2);
    await handleOf(it).terminate('by a test');
    expect((await life.advance(it.id, 'approve')).body).toMatchObject({ status: 'approved' });
    await handleOf(it).terminate('by a test');
    expectProblem(await life.advance(it.id, 'reject'), 409, 'invalid_transition');
    await handleOf(it).terminate('by a test');
    expect((await life.advance(it.id, 'receive')).body).toMatchObject({ status: 'refunded' });
    expect(await handleOf(it).result()).toBe('refunded');
    await expectReturnedOnce(order, 2);
  });

  test('a terminated return can be rejected', async () => {
    const order = await life.delivered(1);
    const it = await requested(order);
    await handleOf(it).terminate('by a test');
    expect((await life.advance(it.id, 'reject')).body).toMatchObject({ status: 'rejected' });
    expect(await handleOf(it).result()).toBe('rejected');
  });

  test('temporal workflow cancel does not harm a return: staff decides on it', async () => {
    const order = await life.delivered(1);
    const it = await requested(order);
    await life.temporal('workflow', 'cancel', '-w', `return-${it.id}`);
    await accept(it);
    expect(await handleOf(it).result()).toBe('refunded');
    await expectReturnedOnce(order, 1);
  });
});

test('what came back before it was charged is never charged', async () => {
  const order = await life.placed(2, { card: 'tok_single_capture' });
  const first = await life.shipUnits(order, 1);
  await life.deliver(first.body);
  const it = await requested(await life.read(order));
  await accept(it);
  expect(await life.moved(order, 'refund')).toEqual([]);
  await life.deliver((await life.ship(order)).body);
  expect(await life.read(order)).toMatchObject({ status: 'delivered', paymentStatus: 'captured' });
  expect(await life.moved(order, 'capture')).toEqual([1000]);
});

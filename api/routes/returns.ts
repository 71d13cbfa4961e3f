import type { Logger } from 'pino';
import { z } from 'zod';
import type { SideWorkflows } from '../../client/side-workflows.ts';
import type { Db } from '../../db/connect.ts';
import { takeStep, wasTaken } from '../../db/order-steps.ts';
import { findOrderRecord, orderIdOf } from '../../db/orders.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import type { OrderRecord } from '../../domain/record.ts';
import {
  isReturnFinal,
  requestReturn,
  type Return,
  RETURN_TRANSITIONS,
  type ReturnCommand,
} from '../../domain/returns.ts';
import type { Sent } from '../../workflows/messages.ts';
import { EVERYBODY, type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { onceById } from '../idempotent.ts';
import { mayRead, type ReadOrder } from '../order-reader.ts';
import { createReturn, orderId, orderReturn, uuidId } from '../order-schemas.ts';
import { expectedVersionOf, readChangeWait } from '../preconditions.ts';
import { actorOf, type Caller } from '../tokens.ts';
import { commandProblems, ifMatch, preferredChangeWait } from './orders.ts';

export interface ReturnDeps {
  db: Db;
  load: ReadOrder;
  sideflows: SideWorkflows;
  logger: Logger;
}

const tag = 'Returns';
/** A workflow may end, or be lost, between a look at its return and the command to it. */
const MAX_ATTEMPTS = 3;
const aReturn = { description: 'The return', body: orderReturn };
const keyed = { 'Idempotency-Key': { description: 'Optional: the same key counts once' } };
const keyProblems = ['invalid_idempotency_key', 'idempotency_key_reused'] as const;

export function returnEndpoints({ db, load, sideflows, logger }: ReturnDeps): Endpoint[] {
  const find = async (id: string, caller: Caller): Promise<{ order: OrderRecord; found: Return }> => {
    const owner = await orderIdOf(db, 'returns', id);
    const order = owner === undefined ? undefined : await findOrderRecord(db, owner);
    const found = order?.returns.find((candidate) => candidate.id === id);
    if (!order || !found || !mayRead(caller, order)) {
      throw new OrderPlatformError('not_found', 'There is no such return.');
    }
    return { order, found };
  };

  /** Through the return's workflow, which is started again where it is lost. */
  const advance = async (
    id: string,
    command: ReturnCommand,
    sent: Sent & { commandId: string },
    caller: Caller,
    waitMs: number,
  ) => {
    const isRepeat = ({ status }: Return) =>
      status === RETURN_TRANSITIONS[command].to || (command === 'receive' && status === 'refunded');
    if (isRepeat((await find(id, caller)).found)) return;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const outcome = await sideflows.advanceReturn(id, command, sent, waitMs);
      if (outcome === 'done') return;
      // The step is taken before its money has moved, which may be what took too long.
      const { order, found } = await find(id, caller);
      if (isRepeat(found) || (await wasTaken(db, order.id, sent.commandId))) return;
      if (outcome === 'undecided') break;
      if (isReturnFinal(found.status)) {
        throw new OrderPlatformError('invalid_transition', `A return that is ${found.status} has ended.`, {
          extra: { currentStatus: found.status },
        });
      }
      await sideflows.startReturn(found, order.number);
    }
    throw new OrderPlatformError('unavailable', 'No worker took it up in time. Please try again.');
  };

  const commandEndpoint = (command: ReturnCommand, summary: string): Endpoint =>
    endpoint({
      method: 'post',
      path: `/v1/returns/:id/${command}`,
      tag,
      summary,
      access: STAFF,
      params: uuidId,
      body: z.strictObject({}),
      bodyOptional: true,
      headers: { ...keyed, ...ifMatch, ...preferredChangeWait },
      answers: { 200: aReturn },
      problems: [...commandProblems, ...keyProblems],
      async handle({ params, body, caller, request, response }) {
        const waitMs = readChangeWait(request);
        const { order } = await find(params.id, caller);
        const expectedVersion = expectedVersionOf(request, order.version);
        const wish = { by: actorOf(caller), ...(expectedVersion !== undefined && { expectedVersion }) };
        await onceById(db, { request, response, caller, body }, (commandId) =>
          advance(params.id, command, { ...wish, commandId }, caller, waitMs),
        );
        response.json(toReturn((await find(params.id, caller)).found));
      },
    });

  return [
    endpoint({
      method: 'post',
      path: '/v1/orders/:id/returns',
      tag,
      summary: 'Ask to return delivered units',
      access: EVERYBODY,
      params: orderId,
      body: createReturn,
      headers: { ...keyed, ...ifMatch },
      answers: { 201: { ...aReturn, headers: { Location: 'Where the return is' } } },
      problems: [...commandProblems, 'not_enough_units', ...keyProblems],
      async handle({ params, body, caller, request, response }) {
        const order = await load(params.id, caller);
        const expectedVersion = expectedVersionOf(request, order.version);
        const wanted = { ...body, by: actorOf(caller) };
        const returnId = await onceById(db, { request, response, caller, body, orderId: order.id }, (id) =>
          takeStep(
            db,
            order.id,
            (current) => requestReturn(current, { ...wanted, returnId: id, at: new Date().toISOString() }),
            { expectedVersion },
          ),
        );
        const { found } = await find(returnId, caller);
        // Where Temporal is away, the first command to the return starts it.
        await sideflows
          .startReturn(found, order.number)
          .catch((error: unknown) => logger.warn({ err: error, returnId }, 'A return starts later'));
        response.status(201).location(`/v1/returns/${returnId}`).json(toReturn(found));
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/returns/:id',
      tag,
      summary: 'Read a return',
      access: EVERYBODY,
      params: uuidId,
      answers: { 200: aReturn },
      problems: ['not_found'],
      async handle({ params, caller, response }) {
        response.json(toReturn((await find(params.id, caller)).found));
      },
    }),
    commandEndpoint('approve', 'Allow a return'),
    commandEndpoint('reject', 'Refuse a return'),
    commandEndpoint(
      'receive',
      'Record that the units of a return are back: they go into stock and are refunded',
    ),
  ];
}

const toReturn = ({ waived: _, ...returned }: Return) => returned;

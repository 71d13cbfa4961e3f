import { z } from 'zod';
import type { Db } from '../../db/connect.ts';
import { takeStep } from '../../db/order-steps.ts';
import { findOrder, findTracked, orderIdOf } from '../../db/orders.ts';
import { OrderPlatformError } from '../../domain/errors.ts';
import type { Order, Shipment, ShipmentStatus } from '../../domain/order.ts';
import { track, WAY } from '../../domain/shipping.ts';
import { EVERYBODY, type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { onceById } from '../idempotent.ts';
import type { OrderCommands } from '../order-commands.ts';
import { mayRead, type ReadOrder } from '../order-reader.ts';
import { changeShipment, createShipment, orderId, shipment, uuidId } from '../order-schemas.ts';
import { expectedVersionOf, readChangeWait } from '../preconditions.ts';
import type { ReadWebhook } from '../webhooks.ts';
import { actorOf, type Caller } from '../tokens.ts';
import { commandProblems, ifMatch, preferredChangeWait } from './orders.ts';
import type { Logger } from 'pino';

/** What a carrier's webhook says. */
export interface TrackingNews {
  trackingNumber: string;
  status: Exclude<ShipmentStatus, 'created'>;
}

export interface ShipmentDeps {
  db: Db;
  load: ReadOrder;
  commands: OrderCommands;
  readWebhook: ReadWebhook<TrackingNews>;
  logger: Logger;
}

const tag = 'Shipments';
const aShipment = { description: 'The shipment', body: shipment };
const keyed = { 'Idempotency-Key': { description: 'Optional: the same key ships once' } };
const keyProblems = ['invalid_idempotency_key', 'idempotency_key_reused'] as const;

export function shipmentEndpoints({ db, load, commands, readWebhook, logger }: ShipmentDeps): Endpoint[] {
  const find = async (id: string, caller: Caller): Promise<{ order: Order; found: Shipment }> => {
    const owner = await orderIdOf(db, 'shipments', id);
    const order = owner === undefined ? undefined : await findOrder(db, owner);
    const found = order?.shipments.find((candidate) => candidate.id === id);
    if (!order || !found || !mayRead(caller, order)) {
      throw new OrderPlatformError('not_found', 'There is no such shipment.');
    }
    return { order, found };
  };

  /** Takes a shipment on its way: its arrival goes through the order's workflow, its stations are only noted. */
  const move = async (
    { order, found }: { order: Order; found: Shipment },
    change: z.output<typeof changeShipment>,
    by: string,
    waitMs: number,
    expectedVersion?: number,
  ): Promise<void> => {
    const { status, trackingNumber } = change;
    const shipmentId = found.id;
    const noted = {
      shipmentId,
      trackingNumber,
      by,
      at: new Date().toISOString(),
      ...(status !== 'delivered' && { status }),
    };
    let version = expectedVersion;
    if (trackingNumber !== undefined || status !== 'delivered') {
      const tracked = await takeStep(db, order.id, (current) => track(current, noted), { expectedVersion });
      if (tracked.taken) version = undefined;
    }
    if (status === 'delivered' && found.status !== 'delivered') {
      const still = version === undefined ? {} : { expectedVersion: version };
      await commands.deliver(order, { shipmentId, by, ...still }, waitMs);
    }
  };

  return [
    endpoint({
      method: 'post',
      path: '/v1/orders/:id/shipments',
      tag,
      summary: 'Ship an order or a part of it',
      access: STAFF,
      params: orderId,
      body: createShipment,
      headers: { ...keyed, ...ifMatch, ...preferredChangeWait },
      answers: {
        200: { description: 'The shipment that an earlier request had made', body: shipment },
        201: { ...aShipment, headers: { Location: 'Where the shipment is' } },
      },
      problems: [...commandProblems, 'not_enough_units', ...keyProblems],
      async handle({ params, body, caller, request, response }) {
        const order = await load(params.id, caller);
        const expectedVersion = expectedVersionOf(request, order.version);
        const { carrier, trackingNumber, lines } = body;
        const wish = {
          carrier,
          ...(trackingNumber !== undefined && { trackingNumber }),
          ...(lines && { lines }),
          by: actorOf(caller),
          ...(expectedVersion !== undefined && { expectedVersion }),
        };
        let id: string | undefined;
        const ship = async (shipmentId: string) => {
          id = await commands.ship(order, { ...wish, shipmentId }, readChangeWait(request));
        };
        const wanted = await onceById(db, { request, response, caller, body, orderId: order.id }, ship);
        if (id === undefined) await ship(wanted);
        const shipped = (await findOrder(db, order.id))!.shipments.find((candidate) => candidate.id === id);
        response
          .status(id === wanted ? 201 : 200)
          .location(`/v1/shipments/${id}`)
          .json(shipped);
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/shipments/:id',
      tag,
      summary: 'Read a shipment',
      access: EVERYBODY,
      params: uuidId,
      answers: { 200: aShipment },
      problems: ['not_found'],
      async handle({ params, caller, response }) {
        response.json((await find(params.id, caller)).found);
      },
    }),
    endpoint({
      method: 'patch',
      path: '/v1/shipments/:id',
      tag,
      summary: 'Say where a shipment is, or its tracking number',
      access: STAFF,
      params: uuidId,
      body: changeShipment,
      headers: { ...ifMatch, ...preferredChangeWait },
      answers: { 200: aShipment },
      problems: commandProblems,
      async handle({ params, body, caller, request, response }) {
        const before = await find(params.id, caller);
        const { status } = before.found;
        if (body.status !== undefined && WAY[body.status] < WAY[status]) {
          const detail = `A shipment that is ${status.replaceAll('_', ' ')} does not go back.`;
          throw new OrderPlatformError('invalid_transition', detail, { extra: { currentStatus: status } });
        }
        const expectedVersion = expectedVersionOf(request, before.order.version);
        await move(before, body, actorOf(caller), readChangeWait(request), expectedVersion);
        response.json((await find(params.id, caller)).found);
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/shipments/:id/deliver',
      tag,
      summary: 'Record that a shipment has arrived',
      access: STAFF,
      params: uuidId,
      body: z.strictObject({}),
      bodyOptional: true,
      headers: { ...keyed, ...ifMatch, ...preferredChangeWait },
      answers: { 200: aShipment },
      problems: [...commandProblems, ...keyProblems],
      async handle({ params, body, caller, request, response }) {
        const before = await find(params.id, caller);
        const expectedVersion = expectedVersionOf(request, before.order.version);
        const by = actorOf(caller);
        await onceById(db, { request, response, caller, body }, () =>
          move(before, { status: 'delivered' }, by, readChangeWait(request), expectedVersion),
        );
        response.json((await find(params.id, caller)).found);
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/carriers/:name/webhook',
      tag,
      summary: 'Where a carrier tells of its shipments, signed (Standard Webhooks)',
      access: 'public',
      unlimited: true,
      raw: true,
      params: z.object({ name: z.string() }),
      answers: { 200: { description: 'Received', body: z.object({ received: z.literal(true) }) } },
      problems: ['not_found', 'invalid_signature', 'validation_failed'],
      async handle({ params, request, response }) {
        const news = await readWebhook(params.name, request.headers, request.body as Buffer);
        const tracked = news ? await findTracked(db, news.trackingNumber) : [];
        if (news && tracked.length === 0) {
          logger.warn({ carrier: params.name }, 'A carrier tells of a shipment that is not known');
        }
        for (const { id, orderId: owner } of tracked) {
          const order = (await findOrder(db, owner))!;
          const found = order.shipments.find((candidate) => candidate.id === id)!;
          await move(
            { order, found },
            { status: news!.status },
            `carrier:${params.name}`,
            readChangeWait(request),
          );
        }
        response.json({ received: true });
      },
    }),
  ];
}

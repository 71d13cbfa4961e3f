import { z } from 'zod';
import type { SideWorkflows } from '../../client/side-workflows.ts';
import type { Db } from '../../db/connect.ts';
import { takeStep } from '../../db/order-steps.ts';
import { findOrderRecord, orderIdOf } from '../../db/orders.ts';
import { refund } from '../../domain/paying.ts';
import type { Payment } from '../../domain/payments.ts';
import { isFinal } from '../../domain/states.ts';
import type { PaymentNews } from '../../workflows/messages.ts';
import { EVERYBODY, type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { onceById } from '../idempotent.ts';
import type { OrderCommands } from '../order-commands.ts';
import type { ReadOrder } from '../order-reader.ts';
import { createRefund, orderId, payment } from '../order-schemas.ts';
import { expectedVersionOf, readPreferredWait } from '../preconditions.ts';
import { actorOf } from '../tokens.ts';
import type { ReadWebhook } from '../webhooks.ts';
import { commandProblems, ifMatch, prefer } from './orders.ts';
import type { Logger } from 'pino';

export interface PaymentDeps {
  db: Db;
  load: ReadOrder;
  commands: OrderCommands;
  sideflows: SideWorkflows;
  readWebhook: ReadWebhook<PaymentNews>;
  logger: Logger;
}

const tag = 'Payments';

export function paymentEndpoints({
  db,
  load,
  commands,
  sideflows,
  readWebhook,
  logger,
}: PaymentDeps): Endpoint[] {
  const paymentsOf = async (id: string) => {
    const record = await findOrderRecord(db, id);
    return (record?.payments ?? []).map((one) => toPayment(one, record!.currency));
  };

  return [
    endpoint({
      method: 'get',
      path: '/v1/orders/:id/payments',
      tag,
      summary: 'Every movement of money of an order, oldest first',
      access: EVERYBODY,
      params: orderId,
      answers: { 200: { description: 'The movements', body: z.object({ data: z.array(payment) }) } },
      problems: ['not_found'],
      async handle({ params, caller, response }) {
        const order = await load(params.id, caller);
        response.json({ data: await paymentsOf(order.id) });
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/orders/:id/refunds',
      tag,
      summary: 'Give back a part of what was captured',
      access: STAFF,
      params: orderId,
      body: createRefund,
      headers: {
        ...ifMatch,
        ...prefer,
        'Idempotency-Key': { description: 'Optional: the same key refunds once' },
      },
      answers: {
        201: { description: 'The refund; `pending` where the company takes its time', body: payment },
      },
      problems: [
        ...commandProblems,
        'refund_exceeds_captured',
        'invalid_idempotency_key',
        'idempotency_key_reused',
      ],
      async handle({ params, body, caller, request, response }) {
        const order = await load(params.id, caller);
        const expectedVersion = expectedVersionOf(request, order.version);
        const command = { ...body, by: actorOf(caller) };
        const refundId = await onceById(db, { request, response, caller, body, orderId: order.id }, (id) =>
          takeStep(
            db,
            order.id,
            (current) => refund(current, { ...command, refundId: id, at: new Date().toISOString() }),
            { expectedVersion },
          ),
        );
        const waitMs = readPreferredWait(request);
        try {
          await sideflows.startRefund(order.id, refundId);
          if (waitMs > 0) await sideflows.awaitRefund(refundId, waitMs);
        } catch (error) {
          // Where Temporal is away, reconciling starts it later.
          logger.warn({ err: error, refundId }, 'A refund starts later');
        }
        response.status(201).json((await paymentsOf(order.id)).find(({ id }) => id === refundId));
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/payments/:name/webhook',
      tag,
      summary: 'Where a payment company tells of its payments, signed',
      access: 'public',
      unlimited: true,
      raw: true,
      params: z.object({ name: z.string() }),
      answers: { 200: { description: 'Received', body: z.object({ received: z.literal(true) }) } },
      problems: ['not_found', 'invalid_signature', 'validation_failed'],
      async handle({ params, request, response }) {
        const news = await readWebhook(params.name, request.headers, request.body as Buffer);
        if (news && !(await pass(params.name, news))) {
          logger.warn({ provider: params.name }, 'A payment company tells of a payment that is not known');
        }
        response.json({ received: true });
      },
    }),
  ];

  /** Passes news on to the order's workflow, or to one of their own where the order has ended; false for unknown ones. */
  async function pass(company: string, news: PaymentNews): Promise<boolean> {
    const { paymentId, outcome } = news;
    const owner = await orderIdOf(db, 'payments', paymentId);
    const order = owner === undefined ? undefined : await findOrderRecord(db, owner);
    const known = order?.payments.find(({ id, type }) => id === paymentId && type === 'authorization');
    if (!order || known?.provider !== company) return false;
    const settled =
      outcome.status === 'authorized' ? known.status === 'succeeded' : known.status !== 'pending';
    if (settled) return true;
    if (!isFinal(order.status) && (await commands.tellPayment(order, news)) === 'told') return true;
    await sideflows.startRefund(order.id, paymentId, news);
    return true;
  }
}

const toPayment = (one: Payment, currency: string) => {
  const { id, type, status, amount, provider, reason, createdAt } = one;
  return { id, type, status, amount, currency, provider, ...(reason !== null && { reason }), createdAt };
};

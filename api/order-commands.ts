import { isTemporalUnavailable } from '../client/calls.ts';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import type { Db } from '../db/connect.ts';
import { takeStep, wasTaken } from '../db/order-steps.ts';
import { findOrder, findOrderRecord } from '../db/orders.ts';
import { leaveWord } from '../db/outbox.ts';
import { cancel } from '../domain/cancelling.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import type { Order, Shipment } from '../domain/order.ts';
import { sameShipment } from '../domain/shipping.ts';
import { toPlacedOrder } from '../domain/record.ts';
import { assertLegal, isFinal, type OrderCommand } from '../domain/states.ts';
import type {
  CancelRequest,
  ChangeRequest,
  DeliverRequest,
  PaymentNews,
  ShipRequest,
} from '../workflows/messages.ts';
import { restart } from './restarting.ts';

/**
 * Commands to orders, through their workflows, waiting up to `waitMs`. They throw the domain error of a refusal. A
 * workflow that is lost, though its order has not ended, is started again and goes on from the order's row. While
 * Temporal does not answer orders can be cancelled all the same: the workflow hears of it later.
 */
export interface OrderCommands {
  cancel(order: Order, request: CancelRequest, waitMs: number): Promise<'done' | 'requested'>;
  change(order: Order, request: ChangeRequest, waitMs: number): Promise<void>;
  /** Answers with the shipment's id: another one than was asked for where the request repeats an earlier one. */
  ship(order: Order, request: ShipRequest, waitMs: number): Promise<string>;
  deliver(order: Order, request: DeliverRequest, waitMs: number): Promise<void>;
  /** Passes on what a payment company told; `closed` where the order has ended. */
  tellPayment(order: Pick<Order, 'id' | 'status'>, news: PaymentNews): Promise<'told' | 'closed'>;
}

export function createOrderCommands({
  db,
  workflows,
  wakeDispatcher,
}: {
  db: Db;
  workflows: OrderWorkflows;
  wakeDispatcher(): void;
}): OrderCommands {
  /** Starts a lost workflow again; false where the order has ended, so that there is nothing to start. */
  const revive = async (orderId: string): Promise<boolean> => {
    const record = await findOrderRecord(db, orderId);
    if (record && isFinal(record.status)) return false;
    const lost = record ? toPlacedOrder(record) : await workflows.findAccepted(orderId);
    if (lost) await restart({ db, workflows }, lost);
    return true;
  };

  /** Sends a command; undefined where the order had ended in just that way, so that there is nothing to do. */
  const send = async <T>(
    command: OrderCommand,
    order: Order,
    attempt: () => Promise<T | 'closed'>,
    repeats = async (ended: Order) => isRepeat(command, ended),
  ): Promise<T | undefined> => {
    const outcome = await attempt();
    if (outcome !== 'closed') return outcome;
    if (!(await revive(order.id))) {
      const ended = (await findOrder(db, order.id))!;
      if (!(await repeats(ended))) assertLegal(command, ended.status);
      return undefined;
    }
    const again = await attempt();
    if (again !== 'closed') return again;
    throw new OrderPlatformError(
      'unavailable',
      'The workflow of this order is not running. Please try again.',
    );
  };

  /** Takes the step of cancelling and leaves word for the workflow, both or neither. */
  const cancelNow = async (orderId: string, request: CancelRequest): Promise<'done'> => {
    const { reason, by, expectedVersion, lines, commandId } = request;
    const command = { reason: reason ?? null, by: by!, lines, commandId, at: new Date().toISOString() };
    await db.transaction().execute(async (trx) => {
      const { record, taken } = await takeStep(trx, orderId, (order) => cancel(order, command), {
        expectedVersion,
      });
      if (taken) await leaveWord(trx, toPlacedOrder(record));
    });
    wakeDispatcher();
    return 'done';
  };

  const orNow = async <T>(through: Promise<T>, order: Order, request: CancelRequest): Promise<T | 'done'> => {
    try {
      return await through;
    } catch (error) {
      if (!isTemporalUnavailable(error)) throw error;
      return await cancelNow(order.id, request);
    }
  };

  return {
    async cancel(order, request, waitMs) {
      const attempt = () => orNow(workflows.cancel(order.id, request, waitMs), order, request);
      const { lines, commandId } = request;
      if (!lines) return (await send('cancel', order, attempt)) ?? 'done';
      const repeats = async () => commandId !== undefined && (await wasTaken(db, order.id, commandId));
      return (await send('cancel', order, attempt, repeats)) ?? 'done';
    },
    change: async (order, request, waitMs) =>
      void (await send('change', order, () => workflows.change(order.id, request, waitMs))),
    async ship(order, request, waitMs) {
      const made = async (): Promise<Shipment | undefined> => {
        const record = await findOrderRecord(db, order.id);
        return record && sameShipment(record, { by: '', at: '', shipmentId: '', ...request });
      };
      const attempt = () => workflows.ship(order.id, request, waitMs);
      const shipped = await send('ship', order, attempt, async () => (await made()) !== undefined);
      return shipped?.shipmentId ?? (await made())!.id;
    },
    deliver: async (order, request, waitMs) =>
      void (await send('deliver', order, () => workflows.deliver(order.id, request, waitMs))),
    async tellPayment({ id }, news) {
      if ((await workflows.tellPayment(id, news)) === 'told') return 'told';
      return (await revive(id)) ? await workflows.tellPayment(id, news) : 'closed';
    },
  };
}

/** Whether an order that has ended, or is shipped, is where the command would bring it. */
const isRepeat = (command: OrderCommand, order: Pick<Order, 'status' | 'cancellation'>): boolean =>
  (command === 'cancel' && (order.status === 'cancelled' || order.cancellation !== undefined)) ||
  (command === 'deliver' && order.status === 'delivered');

/**
 * Refuses at once what the state or a stale version forbids; the transaction that does it decides. Answers whether the
 * command repeats what was done.
 */
export function assertCommandable(
  command: OrderCommand,
  order: Order,
  expectedVersion?: number,
): 'apply' | 'repeat' {
  if (isRepeat(command, order)) return 'repeat';
  assertLegal(command, order.status);
  if (expectedVersion !== undefined && expectedVersion !== order.version) {
    throw new OrderPlatformError('version_conflict', `The order is at version ${order.version}.`);
  }
  return 'apply';
}

import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { takeStep } from '../db/order-steps.ts';
import { findOrderRecord, orderIdOf } from '../db/orders.ts';
import { cancel, type CancelCommand, expirePayment } from '../domain/cancelling.ts';
import { change } from '../domain/changing.ts';
import { invalidField, OrderPlatformError } from '../domain/errors.ts';
import type { OrderChange } from '../domain/order.ts';
import type { PaymentOutcome } from '../domain/paying.ts';
import { advanceReturn, type ReturnCommand, type ReturnStatus } from '../domain/returns.ts';
import {
  deliver,
  type DeliverCommand,
  reportLate,
  sameShipment,
  ship,
  type ShipCommand,
} from '../domain/shipping.ts';
import type { CarrierProvider } from '../providers/carrier/carrier.ts';
import { moveMoney, settlePayment } from './payments.ts';
import {
  failForGood,
  readStep,
  type Refusal,
  type StepDeps,
  type StepResult,
  type StepTaker,
} from './steps.ts';

export interface OrderActivityDeps extends StepDeps {
  carrier: CarrierProvider;
}

/** The shipment that a command made; `unbooked` where the carrier has to be asked by a regular activity first. */
export type ShipResult =
  | (StepResult & { shipmentId: string; bookingStands?: true })
  | (Refusal & { bookingStands?: true })
  | { unbooked: true };

/** A carrier may take so long within a step; then a regular activity asks it. */
const BOOKING_BUDGET_MS = 300;
const PROVIDER_TIMEOUT_MS = 20_000;

export const createOrderActivities = (deps: OrderActivityDeps, { follow, perform, refusal }: StepTaker) => {
  const { db, carrier, stockManagerEmail, log } = deps;
  const now = () => new Date().toISOString();

  const book = async (orderId: string, command: ShipCommand, signal: AbortSignal): Promise<string> => {
    const order = await findOrderRecord(db, orderId);
    if (!order) throw new OrderPlatformError('not_found', 'There is no such order.');
    const { shipmentId, trackingNumber } = command;
    const request = { shipmentId, orderNumber: order.number, carrier: command.carrier, trackingNumber };
    const booked = await carrier.book({ ...request, address: order.shippingAddress }, signal);
    return booked.trackingNumber;
  };

  /** Takes back the booking of a shipment that is not made. */
  const unbook = <R extends object>(
    { shipmentId }: ShipCommand,
    result: R,
  ): Promise<R & { bookingStands?: true }> =>
    carrier.cancel(shipmentId, AbortSignal.timeout(BOOKING_BUDGET_MS)).then(
      () => result,
      () => ({ ...result, bookingStands: true }),
    );

  return {
    /** Moves the money that an order has planned. Throws, to be tried again, where a payment company does not answer. */
    async settlePayments(orderId: string): Promise<StepResult> {
      const taken = await readStep(db, orderId);
      const notifications = new Set(taken.notificationIds);
      let { record } = taken;
      const signal = AbortSignal.any([cancellationSignal(), AbortSignal.timeout(PROVIDER_TIMEOUT_MS)]);
      try {
        await moveMoney(deps, record, signal, (moved) => {
          ({ record } = moved);
          for (const id of moved.notificationIds) notifications.add(id);
          if (moved.became) deps.countOutcome(moved.became);
        });
      } catch (error) {
        const { attempt } = activityInfo();
        log.warn('A payment company does not answer as it should', {
          orderId,
          attempt,
          reason: String(error),
        });
        throw error;
      }
      return await follow({ record, taken: true, notificationIds: [...notifications] });
    },

    /** Writes down what a payment company told of a payment, and what follows from it. Idempotent. */
    notePayment: (
      orderId: string,
      paymentId: string,
      outcome: PaymentOutcome,
    ): Promise<StepResult | Refusal> =>
      settlePayment(deps, orderId, paymentId, outcome)
        .then((taken) => follow(taken))
        .catch((error: unknown) => refusal(orderId, error)),

    /** Tries once to tell what an order has still to tell, and to move what money it has still to move. */
    followUp: (orderId: string) => perform(orderId, () => undefined),

    /** Cancels an order whose payment has not come in time. */
    expirePayment: (orderId: string) => perform(orderId, (order) => expirePayment(order, now())),

    /** Changes the order's shipping address or note. Idempotent. */
    changeOrder: (orderId: string, wanted: OrderChange, by: string, expectedVersion?: number) =>
      perform(orderId, (order) => change(order, wanted, by, now()), expectedVersion),

    /** Cancels what is not shipped, or single units of it: the stock is released and the money follows. Idempotent. */
    cancelOrder: (orderId: string, command: CancelCommand, expectedVersion?: number) =>
      perform(orderId, (order) => cancel(order, command), expectedVersion, command.commandId),

    /**
     * Books a carrier and ships: the units leave the stock and are captured. Where the order refuses, a booking is taken
     * back. Idempotent by the shipment's id. `trackingNumber` is that of a booking made before.
     */
    async shipOrder(
      orderId: string,
      command: ShipCommand,
      expectedVersion?: number,
      trackingNumber?: string,
    ): Promise<ShipResult> {
      try {
        const owner = await orderIdOf(db, 'shipments', command.shipmentId);
        if (owner !== undefined && owner !== orderId) {
          // Its booking is under this id too, and stays.
          return await refusal(orderId, invalidField('/shipmentId', 'That is a shipment of another order'));
        }
        const order = await findOrderRecord(db, orderId);
        const begins = order && !sameShipment(order, command) && ship(order, command);
        if (begins && trackingNumber === undefined) {
          trackingNumber = await book(orderId, command, AbortSignal.timeout(BOOKING_BUDGET_MS));
        }
        const shipped = await takeStep(
          db,
          orderId,
          (current) =>
            sameShipment(current, command)
              ? undefined
              : ship(current, { ...command, trackingNumber: trackingNumber ?? command.trackingNumber }),
          { expectedVersion },
        );
        const { id: shipmentId } = sameShipment(shipped.record, command)!;
        const result = { ...(await follow(shipped)), shipmentId };
        return shipmentId === command.shipmentId ? result : await unbook(command, result);
      } catch (error) {
        if (error instanceof OrderPlatformError) return await unbook(command, await refusal(orderId, error));
        if (trackingNumber === undefined) return { unbooked: true };
        return failForGood(error);
      }
    },

    /** Books a carrier for a shipment and answers with its tracking number. Idempotent by the shipment's id. */
    bookCarrier: (orderId: string, command: ShipCommand): Promise<string> =>
      book(
        orderId,
        command,
        AbortSignal.any([cancellationSignal(), AbortSignal.timeout(PROVIDER_TIMEOUT_MS)]),
      ),

    /** Takes back the booking of a shipment that was not made. Idempotent. */
    cancelBooking: (shipmentId: string): Promise<void> =>
      carrier.cancel(
        shipmentId,
        AbortSignal.any([cancellationSignal(), AbortSignal.timeout(PROVIDER_TIMEOUT_MS)]),
      ),

    /** Records that shipments have arrived. Idempotent. */
    deliverOrder: (orderId: string, command: DeliverCommand, expectedVersion?: number) =>
      perform(orderId, (order) => deliver(order, command), expectedVersion),

    /** Tells the stock manager, once, of an order that is not shipped in the promised time. */
    reportLateOrder: (orderId: string) =>
      perform(orderId, (order) => reportLate(order, stockManagerEmail, now())),

    /** Where a return stands; undefined where there is none. */
    readReturn: async (orderId: string, returnId: string): Promise<ReturnStatus | undefined> => {
      const order = await findOrderRecord(db, orderId);
      return order?.returns.find(({ id }) => id === returnId)?.status;
    },

    /** Takes a return one step on; receiving it puts its units back into stock and refunds them. Idempotent. */
    advanceReturn: (
      orderId: string,
      returnId: string,
      command: ReturnCommand,
      by: string,
      commandId?: string,
      expectedVersion?: number,
    ) =>
      perform(
        orderId,
        (order) => advanceReturn(order, { returnId, command, commandId, by, at: now() }),
        expectedVersion,
        commandId,
      ),
  };
};

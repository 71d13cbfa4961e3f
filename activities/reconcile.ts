import { cancellationSignal, heartbeat, log } from '@temporalio/activity';
import type { SideWorkflows } from '../client/side-workflows.ts';
import type { OrderWorkflows } from '../client/order-workflows.ts';
import type { Db } from '../db/connect.ts';
import { dueErasures, eraseTraces } from '../db/erasure.ts';
import { discardAbandonedUploads } from '../db/imports.ts';
import { takeStep } from '../db/order-steps.ts';
import { findOrderRecord, recordEvent, recordRestart } from '../db/orders.ts';
import { isWaiting } from '../db/outbox.ts';
import * as wrong from '../db/reconciliation.ts';
import { paymentIdFor } from '../domain/ids.ts';
import { type Finding, releaseDead } from '../domain/reconciling.ts';
import { toPlacedOrder } from '../domain/record.ts';
import { returnWorkflowId } from '../domain/returns.ts';
import { isFinal } from '../domain/states.ts';
import type { PaymentProvider } from '../providers/payment/provider.ts';

export interface ReconcileDeps {
  db: Db;
  payments: ReadonlyMap<string, PaymentProvider>;
  workflows: OrderWorkflows;
  sideflows: SideWorkflows;
}

/** How many workflows that broke one run looks at. */
const BROKEN = 1_000;
/** How much of each other kind one run looks at: what it costs is bounded, and what is left waits for the next one. */
const PART = 100;
/** What has waited for so long is nobody's work any more. */
const STUCK_SECONDS = 60;
/** No file is sent for so long. */
const ABANDONED_HOURS = 24;
const LOOK_BACK_MS = 3_600_000;
const HEARTBEAT_MS = 5_000;
/** After so many that cannot be told, Temporal or its workers are away. */
const MOST_UNTOLD = 3;
/** How long a workflow may take to hear of something. */
const TELLING_MS = 10_000;

/** Lets one thing be put right; where that fails it is found, and the others go on. */
async function healing(
  kind: Finding['kind'],
  subject: string,
  heal: () => Promise<Finding | undefined>,
): Promise<Finding | undefined> {
  try {
    return await heal();
  } catch (error) {
    log.error('Something wrong could not be put right', { kind, subject, reason: String(error) });
    return { kind, subject, healed: false };
  }
}

export function createReconcileActivities({ db, payments, workflows, sideflows }: ReconcileDeps) {
  /** Starts the workflow of an order that has not ended again; it goes on from the order's row. */
  const revive = async (orderId: string): Promise<Finding | undefined> => {
    const record = await findOrderRecord(db, orderId);
    if (!record) {
      const accepted = await workflows.findAccepted(orderId);
      if (!accepted || !(await workflows.restart(accepted))) return undefined;
      return { kind: 'unplaced_order', subject: orderId, healed: true };
    }
    if (isFinal(record.status) || (await isWaiting(db, orderId))) return undefined;
    if (!(await workflows.restart(toPlacedOrder(record)))) return undefined;
    await recordRestart(db, orderId);
    return { kind: 'lost_workflow', subject: orderId, healed: true };
  };

  async function* lostWorkflows(): AsyncGenerator<Finding | undefined> {
    const since = new Date(Date.now() - LOOK_BACK_MS);
    for (const orderId of await workflows.listBroken(since, BROKEN)) {
      yield await healing('lost_workflow', orderId, () => revive(orderId));
    }
    for (const orderId of await wrong.nextLiveOrders(db, PART)) {
      yield await healing('lost_workflow', orderId, async () =>
        (await workflows.isRunning(orderId)) ? undefined : await revive(orderId),
      );
    }
  }

  /**
   * Tells the workflows of what has ended, in the order in which it ended. The next run begins at the first that cannot be
   * told now; after a few of those this one ends.
   */
  async function* tellEnded(
    what: wrong.Ending,
    subjectOf: (id: string) => string,
    tell: (one: wrong.Ended) => Promise<'done' | 'closed' | 'undecided'>,
  ): AsyncGenerator<Finding | undefined> {
    const kind = 'unaware_workflow';
    let last: wrong.Ended | undefined;
    let untold = 0;
    try {
      for (const one of await wrong.nextEnded(db, what, PART)) {
        const subject = subjectOf(one.id);
        const finding = await healing(kind, subject, async () => {
          const told = await tell(one);
          return told === 'closed' ? undefined : { kind, subject, healed: told === 'done' };
        });
        if (finding?.healed === false) untold += 1;
        if (untold === 0) last = one;
        yield finding;
        if (untold === MOST_UNTOLD) return;
      }
    } finally {
      if (last) await wrong.passEnded(db, what, last);
    }
  }

  /** A workflow that goes on though its order has ended did not hear of its last step: a cancellation teaches it. */
  const unawareOrders = () =>
    tellEnded(
      'orders',
      (id) => id,
      async ({ id }) => {
        if (!(await workflows.isRunning(id))) return 'closed';
        await workflows.cancelIfRunning(id);
        return 'done';
      },
    );

  /** So may that of a return: the step that ended it, said once more, changes nothing and teaches it. */
  const unawareReturns = () =>
    tellEnded('returns', returnWorkflowId, ({ id, status }) => {
      const command = status === 'rejected' ? 'reject' : 'receive';
      return sideflows.advanceReturn(id, command, { by: 'reconcile' }, TELLING_MS);
    });

  async function* deadReservations(): AsyncGenerator<Finding | undefined> {
    for (const orderId of await wrong.nextDeadReservations(db, PART)) {
      yield await healing('dead_reservation', orderId, async () => {
        const released = await takeStep(db, orderId, (order) => releaseDead(order, new Date().toISOString()));
        if (released.taken) await workflows.cancelIfRunning(orderId);
        return { kind: 'dead_reservation', subject: orderId, healed: released.taken };
      });
    }
  }

  async function* stockDrifts(): AsyncGenerator<Finding> {
    for (const { sku, ...counters } of await wrong.nextStockDrifts(db, PART)) {
      log.warn('A stock does not add up', { sku, ...counters });
      yield { kind: 'stock_drift', subject: sku, healed: await wrong.healStock(db, sku) };
    }
  }

  async function* stuckPayments(): AsyncGenerator<Finding | undefined> {
    for (const { id, orderId, type } of await wrong.stuckPayments(db, STUCK_SECONDS, PART)) {
      yield await healing('stuck_payment', id, async () => {
        if (type !== 'refund' && (await workflows.isRunning(orderId))) return undefined;
        if (!(await sideflows.startRefund(orderId, id))) return undefined;
        await recordEvent(db, orderId, 'reconcile.stuck_payment', { paymentId: id, type });
        return { kind: 'stuck_payment', subject: id, healed: true };
      });
    }
  }

  async function* unknownPayments(): AsyncGenerator<Finding> {
    const signal = AbortSignal.any([cancellationSignal(), AbortSignal.timeout(20_000)]);
    for (const company of payments.values()) {
      const open = await company.listOpenAuthorizations(new Date(Date.now() - LOOK_BACK_MS), signal);
      const named = open.flatMap(({ paymentId, reference }) => (paymentId ? [{ paymentId, reference }] : []));
      const unknown = new Set(
        await wrong.unknownPayments(
          db,
          named.map(({ paymentId }) => paymentId),
        ),
      );
      for (const { paymentId, reference } of named.filter((one) => unknown.has(one.paymentId))) {
        if (!company.shared) {
          await company.void({ idempotencyKey: paymentIdFor(paymentId, 0), reference }, signal);
        }
        yield { kind: 'unknown_payment', subject: reference, healed: !company.shared };
      }
    }
  }

  async function* stuckNotifications(): AsyncGenerator<Finding> {
    for (const { id, orderId } of await wrong.stuckNotifications(db, STUCK_SECONDS, PART)) {
      if (!(await sideflows.startNotification(id))) continue;
      if (orderId !== null)
        await recordEvent(db, orderId, 'reconcile.stuck_notification', { notificationId: id });
      yield { kind: 'stuck_notification', subject: id, healed: true };
    }
  }

  /** Orders of deleted customers end, and no longer need an address. */
  async function* dueTraces(): AsyncGenerator<Finding | undefined> {
    for (const customerId of await dueErasures(db, PART)) {
      yield await healing('unerased_customer', customerId, async () => {
        await eraseTraces(db, customerId);
        return undefined;
      });
    }
  }

  async function* stuckImports(): AsyncGenerator<Finding> {
    for (const { id, type } of await wrong.stuckImports(db, STUCK_SECONDS, PART)) {
      if (await sideflows.startImport(id, type)) yield { kind: 'stuck_import', subject: id, healed: true };
    }
    await discardAbandonedUploads(db, ABANDONED_HOURS);
  }

  return {
    /**
     * Looks for what is wrong in spite of all, puts right what can safely be, and answers with how much it found of each
     * kind. Every part reads a bounded number of rows by an index; a part that fails does not stop the others, but the
     * activity then fails and is tried again.
     */
    async reconcile(): Promise<Record<string, number>> {
      const found: Record<string, number> = {};
      let failure: unknown;
      const beat = setInterval(heartbeat, HEARTBEAT_MS);
      const parts = [
        lostWorkflows,
        unawareOrders,
        unawareReturns,
        deadReservations,
        stockDrifts,
        stuckPayments,
        unknownPayments,
        stuckNotifications,
        dueTraces,
        stuckImports,
      ];
      for (const part of parts) {
        try {
          for await (const finding of part()) {
            if (!finding) continue;
            found[finding.kind] = (found[finding.kind] ?? 0) + 1;
            await wrong.recordFinding(db, finding);
            log.warn('Reconciling found something wrong', { ...finding });
          }
        } catch (error) {
          log.error('A part of reconciling failed', { part: part.name, reason: String(error) });
          failure = error;
        }
      }
      clearInterval(beat);
      if (failure !== undefined) throw failure;
      return found;
    },
  };
}

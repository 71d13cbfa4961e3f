import { OrderPlatformError } from './errors.ts';

export const ORDER_STATUSES = [
  'pending',
  'awaiting_payment',
  'confirmed',
  'partially_shipped',
  'shipped',
  'delivered',
  'rejected',
  'cancelled',
] as const;
export type OrderStatus = (typeof ORDER_STATUSES)[number];

interface Transition {
  /** For each status in which the step is legal the statuses it may lead to; it may always leave the order there. */
  from: Partial<Record<OrderStatus, readonly OrderStatus[]>>;
  /** Who takes the step: people and their programs, or the order's own workflow. */
  by: 'people' | 'workflow';
  /** The error that tells a status from which it is illegal, where that is not `invalid_transition`. */
  refusals?: Partial<Record<OrderStatus, 'already_shipped'>>;
}

/**
 * The state table: which step is legal in which status, and what it may lead to. Which of several statuses that is
 * depends on how many units are still to be shipped and delivered (`statusAfter` in record.ts). The workflow, the API
 * and the picture in docs/states.md all read from it.
 */
export const TRANSITIONS = {
  reject: { from: { pending: ['rejected'], awaiting_payment: ['rejected'] }, by: 'workflow' },
  await_payment: { from: { pending: ['awaiting_payment'] }, by: 'workflow' },
  confirm: { from: { pending: ['confirmed'], awaiting_payment: ['confirmed'] }, by: 'workflow' },
  change: { from: { pending: [], awaiting_payment: [], confirmed: [], partially_shipped: [] }, by: 'people' },
  cancel: {
    from: {
      pending: ['cancelled'],
      awaiting_payment: ['cancelled'],
      confirmed: ['cancelled'],
      partially_shipped: ['shipped', 'delivered'],
    },
    by: 'people',
    refusals: { shipped: 'already_shipped', delivered: 'already_shipped' },
  },
  ship: {
    from: { confirmed: ['partially_shipped', 'shipped'], partially_shipped: ['shipped'] },
    by: 'people',
  },
  deliver: { from: { partially_shipped: [], shipped: ['delivered'] }, by: 'people' },
} as const satisfies Record<string, Transition>;

export type OrderCommand = keyof typeof TRANSITIONS;

/** An order in one of these statuses changes no more. */
export const isFinal = (status: OrderStatus): boolean =>
  status === 'rejected' || status === 'cancelled' || status === 'delivered';

/** Whether the table allows a command in a status. */
export function isLegal(command: OrderCommand, status: OrderStatus): boolean {
  const { from }: Transition = TRANSITIONS[command];
  return from[status] !== undefined;
}

/** Whether the table has a step that leads from one status to another. */
export const leadsTo = (from: OrderStatus, to: OrderStatus): boolean =>
  from === to || Object.values<Transition>(TRANSITIONS).some((step) => step.from[from]?.includes(to));

/** Throws `invalid_transition`, or `already_shipped`, with the `currentStatus`, where the table forbids the command. */
export function assertLegal(command: OrderCommand, status: OrderStatus): void {
  if (isLegal(command, status)) return;
  const { refusals }: Transition = TRANSITIONS[command];
  throw new OrderPlatformError(
    refusals?.[status] ?? 'invalid_transition',
    `An order that is ${status.replaceAll('_', ' ')} cannot be changed by "${command}".`,
    { extra: { currentStatus: status } },
  );
}

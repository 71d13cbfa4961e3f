/** Something that happened to an order, or a message about none, as it is told to the outside: over SSE, and by webhook. */
export interface RecordedEvent {
  orderId?: string;
  orderNumber?: string;
  /** The order's own count: its events come in this order. */
  seq?: number;
  customerId: string;
  type: string;
  at: string;
  actor: string;
  data: Record<string, unknown>;
}

/** A type of events, whole or up to a wildcard: `order.placed`, `return.*`. */
export const EVENT_TYPE_PATTERN = /^(\*|[a-z][a-z_]{0,39}(\.[a-z][a-z_]{0,39}){0,3}(\.\*)?)$/;

/** Whether one of the patterns means this type; without any pattern every type is meant. */
export const isMeant = (patterns: readonly string[], type: string): boolean =>
  patterns.length === 0 ||
  patterns.some((pattern) =>
    pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : pattern === type,
  );

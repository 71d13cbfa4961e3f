export const CART_STATUSES = ['open', 'locked', 'stock_unavailable'] as const;
export type CartStatus = (typeof CART_STATUSES)[number];

export const MAX_CART_ITEMS = 100;
export const MAX_QUANTITY = 10_000;

/** An item at the price of now; `previousUnitPrice` is what it cost when it was added, where that has changed. */
export interface CartItem {
  sku: string;
  name: string;
  quantity: number;
  unitPrice: number;
  previousUnitPrice?: number;
  total: number;
  problem?: { requested: number; available: number };
}

/** A cart as the API tells it; an empty one has no currency. */
export interface Cart {
  id: string;
  status: CartStatus;
  items: CartItem[];
  currency: string | null;
  total: number;
  expiresAt: string;
}

/** What is kept of a cart, with what the catalogue says now. */
export interface CartRecord {
  id: string;
  locked: boolean;
  items: {
    sku: string;
    name: string;
    quantity: number;
    unitPrice: number;
    addedPrice: number;
    /** How many there are as far as the cart knows: null where it knows of no want, 0 where it is not sold any more. */
    available: number | null;
  }[];
  currency: string | null;
  expiresAt: Date;
}

/** The cart as the API tells it. */
export function toCart({ id, locked, currency, expiresAt, ...record }: CartRecord): Cart {
  const items = record.items.map(({ addedPrice, available, ...item }): CartItem => {
    const { quantity, unitPrice } = item;
    return {
      ...item,
      ...(addedPrice !== unitPrice && { previousUnitPrice: addedPrice }),
      total: quantity * unitPrice,
      ...(available !== null && available < quantity && { problem: { requested: quantity, available } }),
    };
  });
  const isShort = items.some(({ problem }) => problem !== undefined);
  return {
    id,
    status: locked ? 'locked' : isShort ? 'stock_unavailable' : 'open',
    items,
    currency,
    total: items.reduce((sum, { total }) => sum + total, 0),
    expiresAt: expiresAt.toISOString(),
  };
}

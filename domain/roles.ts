export const ROLES = ['customer', 'staff', 'admin'] as const;

/** What a caller may do: a customer its own things, staff the orders and stock of all, an admin everything. */
export type Role = (typeof ROLES)[number];

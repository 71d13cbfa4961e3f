/** Who orders in every measurement, and how it is paid for. */
export const buyer = {
  shippingAddress: {
    name: 'A Buyer',
    line1: '1 Main St',
    city: 'Springfield',
    postalCode: '12345',
    country: 'US',
  },
  payment: { method: 'card' as const, token: 'tok_ok' },
};

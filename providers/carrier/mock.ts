import { z } from 'zod';
import { verifyWebhook } from '../webhooks/standard-webhooks.ts';
import type { CarrierProvider } from './carrier.ts';
import type { CarrierBooks } from './mock-books.ts';

const trackingWebhook = z.object({
  type: z.literal('shipment.updated'),
  data: z.object({
    trackingNumber: z
      .string()
      .min(1)
      .max(100)
      .regex(/^[^\p{Cc}\p{Surrogate}]*$/u),
    status: z.enum(['in_transit', 'out_for_delivery', 'delivered']),
  }),
});

/**
 * A carrier that is not there and keeps books of its own. Its webhooks follow https://www.standardwebhooks.com and are
 * signed with `webhookSecret` (`whsec_…`): `{"type": "shipment.updated", "data": {"trackingNumber", "status"}}`.
 */
export function mockCarrier({
  books,
  webhookSecret,
}: {
  books: CarrierBooks;
  webhookSecret: string;
}): CarrierProvider {
  return {
    name: 'mock',
    async book({ shipmentId, orderNumber, carrier, trackingNumber = trackingNumberOf(shipmentId) }, signal) {
      signal.throwIfAborted();
      return { trackingNumber: await books.book({ shipmentId, orderNumber, carrier, trackingNumber }) };
    },
    async cancel(shipmentId, signal) {
      signal.throwIfAborted();
      await books.cancel(shipmentId);
    },
    readWebhook: (headers, body) => verifyWebhook(webhookSecret, headers, body, trackingWebhook).data,
  };
}

/** `MOCK` and the last 12 digits of the shipment's id. */
const trackingNumberOf = (shipmentId: string) =>
  `MOCK${shipmentId.replaceAll('-', '').slice(-12).toUpperCase()}`;

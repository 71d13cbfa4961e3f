import type { Address, ShipmentStatus } from '../../domain/order.ts';
import type { WebhookHeaders } from '../payment/provider.ts';

/**
 * A company that carries parcels. Calls are safe to repeat with the same `shipmentId`. They throw whatever went wrong;
 * trying again is always right.
 */
export interface CarrierProvider {
  /** As it stands in the path of its webhook: `mock`. */
  readonly name: string;
  /** Announces a parcel; answers with its tracking number, which is `request.trackingNumber` where one is given. */
  book(request: BookingRequest, signal: AbortSignal): Promise<{ trackingNumber: string }>;
  /** Takes back a booking; without one it does nothing. */
  cancel(shipmentId: string, signal: AbortSignal): Promise<void>;
  /** What a webhook says. Throws a WebhookRefused. `body` is what came over the wire, byte for byte. */
  readWebhook(headers: WebhookHeaders, body: Buffer): TrackingNotice;
}

export interface BookingRequest {
  shipmentId: string;
  orderNumber: string;
  /** The service as staff names it, for example `UPS`. */
  carrier: string;
  trackingNumber?: string | undefined;
  address: Address;
}

export interface TrackingNotice {
  trackingNumber: string;
  status: Exclude<ShipmentStatus, 'created'>;
}

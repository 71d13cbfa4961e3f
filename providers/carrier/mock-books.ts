/** What the mock carrier keeps, for all processes at once. */
export interface CarrierBooks {
  /** Enters a booking. Answers with the tracking number that its shipment has, which the first time is the given one. */
  book(booking: Booking): Promise<string>;
  /** Takes a booking back; without one, or the second time, it changes nothing. */
  cancel(shipmentId: string): Promise<void>;
}

export interface Booking {
  shipmentId: string;
  trackingNumber: string;
  orderNumber: string;
  carrier: string;
}

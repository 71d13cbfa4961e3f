import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** The books of the mock carrier (CarrierBooks), in Postgres. */
export const mockCarrierBooks = (db: Db) => ({
  async book(booking: { shipmentId: string; trackingNumber: string; orderNumber: string; carrier: string }) {
    const { rows } = await sql<{ tracking_number: string }>`
      insert into mock_company.carrier_bookings as kept (shipment_id, tracking_number, order_number, carrier)
      values (${booking.shipmentId}::uuid, ${booking.trackingNumber}, ${booking.orderNumber}, ${booking.carrier})
      on conflict (shipment_id) do update set tracking_number = kept.tracking_number
      returning tracking_number
    `.execute(db);
    return rows[0]!.tracking_number;
  },

  async cancel(shipmentId: string) {
    await sql`
      update mock_company.carrier_bookings set status = 'cancelled' where shipment_id = ${shipmentId}::uuid
    `.execute(db);
  },
});

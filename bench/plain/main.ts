import { randomUUID } from 'node:crypto';
import express from 'express';
import { acceptOrder } from '../../api/accepting.ts';
import { placeOrder as requestSchema } from '../../api/order-schemas.ts';
import { connect } from '../../db/connect.ts';
import { placeOrders } from '../../db/placement.ts';
import { quoteOrder } from '../../db/products.ts';

/**
 * What a shop would do without anything durable: Express, the same SQL, one order a transaction. No login, no key, no
 * payment, no mail, no workflow. Listens on PORT; every order is of the customer PLAIN_CUSTOMER.
 */
const { DATABASE_URL, PORT, PLAIN_CUSTOMER } = process.env;
const { db } = connect(DATABASE_URL!, { max: 12, name: 'bench-plain' });
const customerId = PLAIN_CUSTOMER!;

const app = express();
app.use(express.json());
app.post('/v1/orders', async (incoming, response) => {
  const request = requestSchema.parse(incoming.body);
  const orderId = randomUUID();
  const quote = await quoteOrder(db, { orderId, customerId, skus: request.lines.map(({ sku }) => sku) });
  const common = { orderId, customerId, requestHash: orderId, placedBy: 'bench' };
  const accepted = acceptOrder({ ...common, request, quote, shipWithinMs: 172_800_000 });
  const [placed] = await placeOrders(db, [{ order: accepted, provider: 'mock', cancellation: null }]);
  response.status(202).json(placed!.record);
});
app.listen(Number(PORT), '127.0.0.1');

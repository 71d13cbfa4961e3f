import type { Endpoint } from './endpoint.ts';
import { authEndpoints } from './routes/auth.ts';
import { healthEndpoints } from './routes/health.ts';
import { inventoryEndpoints } from './routes/inventory.ts';
import { orderEndpoints } from './routes/orders.ts';
import { paymentEndpoints } from './routes/payments.ts';
import { productEndpoints } from './routes/products.ts';
import { returnEndpoints } from './routes/returns.ts';
import { shipmentEndpoints } from './routes/shipments.ts';

/** What makes the endpoints of each noun, in the order of the description. */
const NOUNS = {
  auth: authEndpoints,
  orders: orderEndpoints,
  shipments: shipmentEndpoints,
  payments: paymentEndpoints,
  returns: returnEndpoints,
  inventory: inventoryEndpoints,
  products: productEndpoints,
  health: healthEndpoints,
};

type Noun = keyof typeof NOUNS;
type Needs = { [N in Noun]: Parameters<(typeof NOUNS)[N]>[0] };

const nouns = Object.keys(NOUNS) as Noun[];

/** Every endpoint, made from what those of each noun need. */
export const listEndpoints = (needs: Needs): Endpoint[] =>
  nouns.flatMap((noun) => (NOUNS[noun] as (needed: Needs[Noun]) => Endpoint[])(needs[noun]));

/** Every endpoint to be described, not called. It is made of nothing: endpoints use what they are given in calls only. */
export const listDescriptions = (): Endpoint[] =>
  listEndpoints(Object.fromEntries(nouns.map((noun) => [noun, {}])) as unknown as Needs);

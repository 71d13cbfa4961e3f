import type { Endpoint } from './endpoint.ts';
import { apiKeyEndpoints } from './routes/api-keys.ts';
import { authEndpoints } from './routes/auth.ts';
import { cartEndpoints } from './routes/carts.ts';
import { customerAddressEndpoints } from './routes/customer-addresses.ts';
import { customerEndpoints } from './routes/customers.ts';
import { eventEndpoints } from './routes/events.ts';
import { exportEndpoints } from './routes/exports.ts';
import { healthEndpoints } from './routes/health.ts';
import { importEndpoints } from './routes/imports.ts';
import { inventoryEndpoints } from './routes/inventory.ts';
import { notificationTemplateEndpoints } from './routes/notification-templates.ts';
import { notificationEndpoints } from './routes/notifications.ts';
import { orderEndpoints } from './routes/orders.ts';
import { paymentEndpoints } from './routes/payments.ts';
import { preferencesEndpoints } from './routes/preferences.ts';
import { productEndpoints } from './routes/products.ts';
import { returnEndpoints } from './routes/returns.ts';
import { shipmentEndpoints } from './routes/shipments.ts';
import { webhookDeliveryEndpoints } from './routes/webhook-deliveries.ts';
import { webhookEndpointEndpoints } from './routes/webhook-endpoints.ts';

/** What makes the endpoints of each noun, in the order of the description. */
const NOUNS = {
  auth: authEndpoints,
  apiKeys: apiKeyEndpoints,
  customers: customerEndpoints,
  customerAddresses: customerAddressEndpoints,
  orders: orderEndpoints,
  shipments: shipmentEndpoints,
  payments: paymentEndpoints,
  returns: returnEndpoints,
  inventory: inventoryEndpoints,
  products: productEndpoints,
  imports: importEndpoints,
  exports: exportEndpoints,
  carts: cartEndpoints,
  notifications: notificationEndpoints,
  notificationTemplates: notificationTemplateEndpoints,
  preferences: preferencesEndpoints,
  events: eventEndpoints,
  webhookEndpoints: webhookEndpointEndpoints,
  webhookDeliveries: webhookDeliveryEndpoints,
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

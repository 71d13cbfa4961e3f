import { randomUUID } from 'node:crypto';
import chromium from '@sparticuz/chromium';
import { chromium as playwright } from 'playwright-core';

/**
 * Takes the pictures of docs/images from a real run: start the platform with `npm start -- --fresh`, then run
 * `npm run screenshots`.
 */
const api = process.env.API_URL ?? 'http://127.0.0.1:3000';
const temporal = process.env.TEMPORAL_UI_URL ?? 'http://127.0.0.1:8233';
const images = new URL('./images/', import.meta.url).pathname;

async function call<T>(method: string, path: string, body?: unknown, token?: string): Promise<T> {
  const response = await fetch(api + path, {
    method,
    headers: {
      'content-type': 'application/json',
      'idempotency-key': randomUUID(),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

const login = async (email: string): Promise<string> => {
  const credentials = { email, password: 'demo-password' };
  return (await call<{ accessToken: string }>('POST', '/v1/auth/login', credentials)).accessToken;
};
const customer = await login('john.smith@example.com');
const staff = await login('staff@example.com');

interface Placed {
  id: string;
  workflowId: string;
  lines: { id: string }[];
}

const place = (lines: { sku: string; quantity: number }[], token = 'tok_ok') =>
  call<Placed>(
    'POST',
    '/v1/orders',
    {
      lines,
      shippingAddress: {
        name: 'John Smith',
        line1: '12 High Street',
        city: 'Springfield',
        region: 'IL',
        postalCode: '62701',
        country: 'US',
      },
      payment: { method: 'card', token },
    },
    customer,
  );
const ship = (order: Placed, body: object) =>
  call<{ id: string }>('POST', `/v1/orders/${order.id}/shipments`, { carrier: 'UPS', ...body }, staff);
const deliver = ({ id }: { id: string }) => call('POST', `/v1/shipments/${id}/deliver`, {}, staff);

await place([{ sku: 'CONSOLE-LE', quantity: 3 }]);
await place([{ sku: 'MONITOR-27', quantity: 1 }], 'tok_declined');
await place([{ sku: 'MOUSE-WL', quantity: 2 }], 'tok_async');
const cancelled = await place([{ sku: 'KEYBOARD-MX', quantity: 1 }]);
await call('POST', `/v1/orders/${cancelled.id}/cancel`, { reason: 'changed my mind' }, customer);
const lived = await place([
  { sku: 'LAPTOP-15', quantity: 1 },
  { sku: 'MOUSE-WL', quantity: 2 },
]);
const first = await ship(lived, { lines: [{ lineId: lived.lines[0]!.id, quantity: 1 }] });
await deliver(first);
await deliver(await ship(lived, {}));
const back = await call<{ id: string }>(
  'POST',
  `/v1/orders/${lived.id}/returns`,
  { lines: [{ lineId: lived.lines[1]!.id, quantity: 1 }], reason: 'one too many' },
  customer,
);
await call('POST', `/v1/returns/${back.id}/approve`, {}, staff);
await call('POST', `/v1/returns/${back.id}/receive`, {}, staff);
const half = await place([{ sku: 'LAPTOP-15', quantity: 2 }]);
await ship(half, { lines: [{ lineId: half.lines[0]!.id, quantity: 1 }] });
await place([{ sku: 'KEYBOARD-MX', quantity: 1 }]);

const browser = await playwright.launch({
  executablePath: await chromium.executablePath(),
  args: chromium.args,
});
const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });

await page.goto(`${temporal}/namespaces/default/workflows`);
await page.getByText(lived.workflowId).first().waitFor();
await page.getByTestId('workflows-summary-table-configuration-button').first().click();
for (const column of ['Run ID', 'Type', 'End']) await page.getByLabel(`Remove ${column} column`).click();
await page.getByLabel('Add OrderStatus column').click();
await page.getByLabel('Move OrderStatus column up').click();
await page.getByLabel('Close Workflows Table configuration').click();
await page.getByText('partially_shipped').first().waitFor();
await page.getByText('Configure Workflows Table').waitFor({ state: 'hidden' });
await page.screenshot({ path: `${images}/workflow-list.png` });

await page.goto(`${temporal}/namespaces/default/workflows/${lived.workflowId}`);
await page.getByText('Hand over to the carrier').first().waitFor();
await page.setViewportSize({ width: 1280, height: 1180 });
await page.screenshot({ path: `${images}/workflow-history.png` });
await page.setViewportSize({ width: 1280, height: 760 });

await page.goto(`${temporal}/namespaces/default/workflows/${half.workflowId}`);
await page.getByText('User Metadata').first().click();
await page.frameLocator('iframe >> nth=2').getByText('Waits for the rest').waitFor();
await page.screenshot({ path: `${images}/workflow-metadata.png` });

await page.goto(`${api}/docs/`);
await page.getByText('/v1/orders/{id}/cancel').waitFor();
await page.screenshot({ path: `${images}/api-docs.png` });
await browser.close();
console.log(`Wrote the pictures to ${images}`);

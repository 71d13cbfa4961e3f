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

const { accessToken } = await call<{ accessToken: string }>('POST', '/v1/auth/login', {
  email: 'john.smith@example.com',
  password: 'demo-password',
});
const place = (lines: { sku: string; quantity: number }[]) =>
  call<{ id: string; workflowId: string }>(
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
      payment: { method: 'card', token: 'tok_ok' },
    },
    accessToken,
  );

await place([{ sku: 'CONSOLE-LE', quantity: 3 }]);
await place([{ sku: 'MOUSE-WL', quantity: 2 }]);
const cancelled = await place([
  { sku: 'LAPTOP-15', quantity: 1 },
  { sku: 'MOUSE-WL', quantity: 2 },
]);
await call('POST', `/v1/orders/${cancelled.id}/cancel`, { reason: 'changed my mind' }, accessToken);
await place([{ sku: 'KEYBOARD-MX', quantity: 1 }]);

const browser = await playwright.launch({
  executablePath: await chromium.executablePath(),
  args: chromium.args,
});
const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });

await page.goto(`${temporal}/namespaces/default/workflows/${cancelled.workflowId}`);
await page.getByText('cancelOrder').first().waitFor();
await page.setViewportSize({ width: 1280, height: 1040 });
await page.screenshot({ path: `${images}/workflow-history.png` });
await page.setViewportSize({ width: 1280, height: 760 });

await page.getByText('User Metadata').first().click();
await page.getByText('Current Details').first().waitFor();
await page.waitForLoadState('networkidle');
await page.screenshot({ path: `${images}/workflow-metadata.png` });

await page.goto(`${api}/docs/`);
await page.getByText('/v1/orders/{id}/cancel').waitFor();
await page.screenshot({ path: `${images}/api-docs.png` });
await browser.close();
console.log(`Wrote the pictures to ${images}`);

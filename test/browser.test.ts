import chromium from '@sparticuz/chromium';
import { type Browser, chromium as playwright, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { orderOf } from './harness/http.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

/** The pages people look at, in a real browser. */
let stack: TestStack;
let browser: Browser;
let page: Page;
const complaints: string[] = [];
beforeAll(async () => {
  [stack, browser] = await Promise.all([
    startStack(),
    playwright.launch({ executablePath: await chromium.executablePath(), args: chromium.args }),
  ]);
  page = await browser.newPage();
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
});
afterAll(async () => {
  await browser.close();
  await stack.stop();
});

test('/docs shows every endpoint, and its "Try it out" reads products', async () => {
  await page.goto(`${stack.api.url}/docs`);
  await page.getByText('/v1/orders/{id}/cancel').waitFor();
  const { body } = await stack.api.request('GET', '/openapi.json');
  const operations = Object.values(body.paths).flatMap((path) => Object.keys(path as object));
  expect(await page.locator('.opblock').count()).toBe(operations.length);

  await page.locator('#operations-Products-getProducts').click();
  await page.getByRole('button', { name: 'Try it out' }).click();
  await page.getByRole('button', { name: 'Execute' }).click();
  await page.getByText('LAPTOP-13').first().waitFor();
  expect(complaints).toEqual([]);
});

test('the Temporal Web UI tells who ordered what, for how much, and where it stands', async () => {
  const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'LAPTOP-15', quantity: 2 }]));
  const workflow = `${stack.parts.temporalUiUrl}/namespaces/browser/workflows/${body.workflowId}`;
  await page.goto(workflow);
  await page.getByText('placeOrder').first().waitFor();
  const expected = [
    `Order ${body.number}: 2 items, $2,598.00`,
    '2 × Laptop 15',
    'Total USD 2,598.00',
    'Current Details',
    'confirmed',
    'Payment: authorized',
    'Waits to be shipped',
  ];
  await eventually('the summary, the details and the current details', async () => {
    await page.getByText('User Metadata').first().click();
    const texts = await Promise.all(page.frames().map((frame) => frame.locator('body').innerText()));
    const shown = texts.join('\n').replaceAll('\u00a0', ' ');
    expect(expected.filter((text) => !shown.includes(text))).toEqual([]);
    return true;
  });
  await eventually('the list finds it by status', async () => {
    await page.goto(
      `${stack.parts.temporalUiUrl}/namespaces/browser/workflows?query=OrderStatus%3D"confirmed"`,
    );
    return await page
      .getByText(body.workflowId)
      .first()
      .waitFor({ timeout: 5_000 })
      .then(() => true);
  });
});

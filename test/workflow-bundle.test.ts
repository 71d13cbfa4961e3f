import { readFileSync } from 'node:fs';
import { expect, inject, test } from 'vitest';

test('the workflow bundle holds the workflows, and nothing that touches the outside', () => {
  const code = readFileSync(inject('parts').workflowBundle, 'utf8');
  expect(code).toContain('./workflows/order.ts');
  for (const foreign of [
    'node_modules/zod',
    'node_modules/kysely',
    'node_modules/pg',
    'nodemailer',
    './db/',
    './api/',
  ]) {
    expect(code, foreign).not.toContain(foreign);
  }
});

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listDescriptions } from '../api/endpoints.ts';
import { templateOf } from '../api/openapi.ts';
import type { Role } from '../domain/roles.ts';
import { orderOf } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { findSchemathesis } from './harness/schemathesis.ts';
import { startStack, type TestStack } from './harness/stack.ts';

/** Python looks for proxies in all of the environment at each request, and npm makes it large. */
const { PATH, HOME } = process.env;

let stack: TestStack;
let schemathesis: Awaited<ReturnType<typeof findSchemathesis>>;
let folder: string;
let configured: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-schemathesis-'));
  [stack, schemathesis] = await Promise.all([startStack(), findSchemathesis()]);
  configured = await configuration();
}, 180_000);
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
  rmSync(folder, { recursive: true });
});

/** Half of the time it calls things that exist, and it knows what a schema cannot say. */
async function configuration(): Promise<string> {
  const { john, staff } = stack.tokens;
  const place = () => stack.api.place(john, orderOf([{ sku: 'MOUSE-WL', quantity: 3 }]));
  const [placed, shipped] = await Promise.all([place(), place()]);
  const { body: shipment } = await stack.api.request('POST', `/v1/orders/${shipped.body.id}/shipments`, {
    token: staff,
    body: { carrier: 'UPS' },
  });
  await stack.api.request('POST', `/v1/shipments/${shipment.id}/deliver`, { token: staff });
  const { body: returned } = await stack.api.request('POST', `/v1/orders/${shipped.body.id}/returns`, {
    token: john,
    body: { lines: [{ lineId: shipped.body.lines[0]!.id, quantity: 1 }], reason: 'too small' },
  });
  const things = {
    orders: [placed.body.id, shipped.body.number],
    shipments: [shipment.id],
    returns: [returned.id],
    skus: ['MOUSE-WL', 'LAPTOP-15', 'CONSOLE-LE'],
  };
  const dictionaries = Object.entries(things).map(
    ([name, values]) => `${name} = { values = ${JSON.stringify(values)} }`,
  );
  const thing = (prefix: string, parameter: string, dictionary: string) => `
[[operations]]
include-path-regex = "^/v1/${prefix}/\\\\{"
parameters = { "path.${parameter}" = { dictionary = "${dictionary}", probability = 0.5 } }
`;
  return `
generation.max-examples = 3
seed = 1
continue-on-failure = true
request-timeout = 40
warnings = false

# Nobody stays nobody.
[auth]
auto-signup = false

# What a schema cannot say: an If-Match may be stale, and what a body names may be unknown.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 401, 403, 404, 409, 412, 422, 429]

# It takes the variables of all templates, each of which takes its own.
[[operations]]
include-path = "/v1/notification-templates/{name}/preview"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 422, 429]

# A cursor is one that the list gave out.
[[operations]]
include-method = "GET"
checks.positive_data_acceptance.expected-statuses = ["2xx", 304, 400, 401, 403, 404, 429]

# What is imported is judged row by row, later.
[[operations]]
include-path = "/v1/imports"
checks.negative_data_rejection.enabled = false

# A stream that does not end.
[[operations]]
include-path = "/v1/events"
enabled = false

[dictionaries]
${dictionaries.join('\n')}
${thing('orders', 'id', 'orders')}
${thing('shipments', 'id', 'shipments')}
${thing('returns', 'id', 'returns')}
${thing('inventory', 'sku', 'skus')}
${thing('products', 'sku', 'skus')}
`;
}

/** The operations that a role may call, as schemathesis names them. */
const operationsOf = (role: Role | 'nobody'): string[] =>
  listDescriptions()
    .filter(({ access }) => access === 'public' || access.includes(role))
    .map(({ method, path }) => `${method.toUpperCase()} ${templateOf(path)}`);

/** The operations whose limits were tried, value by value, by a role that may do less. What they take is the same for all. */
const covered: string[] = [];
const isCovered = () => `
[[operations]]
include-name = ${JSON.stringify(covered)}
phases.coverage.enabled = false
`;

/** What a role is refused is refused before anything is read of the request, see test/authorisation.test.ts. */
test.for(['nobody', 'customer', 'staff', 'admin'] as const)(
  'schemathesis, as %s, finds nothing that /openapi.json does not say',
  { timeout: 600_000 },
  async (role, { skip }) => {
    if ('missing' in schemathesis) return skip(schemathesis.missing);
    const { command } = schemathesis;
    const { admin, staff, john: customer } = stack.tokens;
    const token = { admin, staff, customer, nobody: undefined }[role];
    const operations = operationsOf(role);
    const names = operations.flatMap((operation) => ['--include-name', operation]);
    const login = token ? ['--header', `Authorization: Bearer ${token}`] : [];
    const run = ['-m', 'schemathesis.cli', 'run', `${stack.api.url}/openapi.json`, '--no-color'];
    writeFileSync(join(folder, 'schemathesis.toml'), configured + isCovered());
    const { code, output } = await new Promise<{ code: unknown; output: string }>((resolve) => {
      execFile(
        command,
        [...run, ...names, ...login],
        { cwd: folder, env: { PATH, HOME }, maxBuffer: 64e6 },
        (error, stdout, stderr) => {
          resolve({ code: error?.code ?? 0, output: stdout + stderr });
        },
      );
    });
    expect(code, output).toBe(0);
    covered.push(...operations);
  },
);

import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Api } from './harness/http.ts';
import { conforming } from './harness/openapi.ts';
import { expectNoFault } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

/** As much of JSON Schema as the description uses for what requests carry. */
interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  pattern?: string;
  maxLength?: number;
  minimum?: number;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
}

interface Described {
  components: { schemas: Record<string, Schema> };
  paths: Record<string, Record<string, DescribedOperation>>;
}

interface DescribedOperation {
  parameters?: { name: string; in: string; schema: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
}

const INJECTIONS = [
  "'; drop table ordering.orders; --",
  "' or '1'='1",
  '" or ""="',
  "\\'; delete from identity.users; --",
  "x'||(select secret from identity.signing_keys)||'",
  '{{constructor.constructor("return process")()}}',
  '=cmd|"/c calc"!A1',
  '$1 ${1} %s %00',
];

const FORMATS: Record<string, () => string> = {
  uuid: randomUUID,
  email: () => `${randomUUID()}@example.org`,
  uri: () => 'http://127.0.0.1:9/',
  'date-time': () => new Date().toISOString(),
};
/** What texts look like that take no free text. */
const SHAPED = ['MOUSE-WL', 'USD', 'US', '+14155550100', '10:00', '1', 'x'];

let stack: TestStack;
let api: Api;
let described: Described;
beforeAll(async () => {
  stack = await startStack();
  api = await conforming(stack.api);
  described = (await stack.api.request<Described>('GET', '/openapi.json')).body;
});
afterAll(() => stack.stop());

/** Something that fits the schema, with `text` wherever free text may be. */
function sample(schema: Schema, text: string): unknown {
  if (schema.$ref) return sample(described.components.schemas[schema.$ref.split('/').at(-1)!]!, text);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choice = schema.anyOf ?? schema.oneOf;
  if (choice) return sample(choice[0]!, text);
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => sample(part, text)));
  const [type] = [schema.type].flat();
  if (type === 'object') {
    const entries = Object.entries(schema.properties ?? {});
    return Object.fromEntries(entries.map(([name, property]) => [name, sample(property, text)]));
  }
  if (type === 'array') return schema.items ? [sample(schema.items, text)] : [];
  if (type === 'integer' || type === 'number') return Math.max(schema.minimum ?? 1, 1);
  if (type === 'boolean') return true;
  const shaped = schema.format === undefined ? undefined : FORMATS[schema.format]?.();
  if (shaped !== undefined) return shaped;
  const free = text.slice(0, schema.maxLength);
  const pattern = new RegExp(schema.pattern ?? '', 'u');
  return [free, ...SHAPED].find((candidate) => pattern.test(candidate)) ?? free;
}

const people = () =>
  stack.db.selectFrom('identity.users').select(['id', 'role']).where('role', '<>', 'customer').execute();

test('SQL, templates and formulas in every text of every endpoint are text', async () => {
  const before = await people();
  let asked = 0;
  for (const [template, operations] of Object.entries(described.paths)) {
    // A stream does not end.
    if (template === '/v1/events') continue;
    for (const [method, { parameters = [], requestBody }] of Object.entries(operations)) {
      const ask = async (text: string, isIdFree: boolean): Promise<void> => {
        const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
          const { schema } = parameters.find((one) => one.in === 'path' && one.name === name)!;
          return encodeURIComponent(isIdFree ? text : String(sample(schema, 'x')));
        });
        const query = new URLSearchParams(
          parameters
            .filter((one) => one.in === 'query')
            .map(({ name, schema }): [string, string] => [
              name,
              isIdFree ? text : String(sample(schema, text)),
            ]),
        );
        const body = requestBody?.content['application/json'];
        const csv = requestBody?.content['text/csv'] && {
          raw: `sku,name\n"${text.replaceAll('"', '""')}",${text}\n`,
          headers: { 'content-type': 'text/csv' },
        };
        const answer = await api.request(method.toUpperCase(), `${path}?${query.toString()}`, {
          token: stack.tokens.admin,
          ...(body && { body: sample(body.schema, text) }),
          ...csv,
        });
        expectNoFault(answer);
        asked += 1;
      };
      const texts = INJECTIONS.flatMap((text) => [ask(text, false), ask(text, true)]);
      await Promise.all(texts);
    }
  }
  expect(asked).toBeGreaterThan(1000);
  expect(new Set(await people())).toEqual(new Set(before));
  const { rows } = await sql<{ tables: number }>`
    select count(*)::int as tables from information_schema.tables
    where (table_schema, table_name) in (('ordering', 'orders'), ('identity', 'users'), ('inventory', 'stock'))
  `.execute(stack.db);
  expect(rows).toEqual([{ tables: 3 }]);
});

test.each(INJECTIONS)('%s is kept as it was written', async (text) => {
  const sku = `INJECT-${INJECTIONS.indexOf(text)}`;
  const product = { sku, name: text, description: text, category: text, price: 100, currency: 'USD' };
  const token = stack.tokens.staff;
  expect(await api.request('POST', '/v1/products', { token, body: product })).toMatchObject({
    status: 201,
    body: product,
  });
  const note = { channel: 'push', recipient: 'device', template: 'message' };
  const { body: message } = await api.request('POST', '/v1/notifications', {
    token,
    body: { ...note, variables: { subject: text, text } },
  });
  const pushed = await eventually('it is pushed', async () => {
    const { body } = await api.request('GET', `/v1/notifications/${message.id}`, { token });
    return body.status === 'sent' && body;
  });
  expect(pushed).toMatchObject({ subject: text, body: text });
});

import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { beforeAll, describe, expect, it } from 'vitest';
import { Scalar, parse, type CollectionTag, type ScalarTag } from 'yaml';

type Node = unknown;
type Table = Record<string, Node>;

interface Service {
  image: string;
  build?: Node;
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  healthcheck?: { test?: string[]; disable?: boolean };
  depends_on?: Record<string, { condition: string }>;
  restart?: string;
  init?: boolean;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt?: string[];
  logging?: { driver: string; options: Record<string, string> };
  deploy?: { replicas?: string; resources?: { limits: Record<string, string> } };
}

const root = resolve(import.meta.dirname, '..');
const read = (file: string) => readFileSync(resolve(root, file), 'utf8');

/** `!reset` and `!override` say how a file joins the one before it. */
class Tagged {
  readonly tag: string;
  readonly value: Node;
  constructor(tag: string, value: Node) {
    this.tag = tag;
    this.value = value;
  }
}

const mergeTags = ['!reset', '!override'].flatMap((tag): (ScalarTag | CollectionTag)[] => [
  { tag, resolve: () => new Tagged(tag, null) },
  { tag, collection: 'map', resolve: (map) => new Scalar(new Tagged(tag, map.toJSON())) },
  { tag, collection: 'seq', resolve: (list) => new Scalar(new Tagged(tag, list.toJSON())) },
]);

const load = (file: string): Table => parse(read(file), { merge: true, customTags: mergeTags }) as Table;

const isTable = (node: Node): node is Table =>
  typeof node === 'object' && node !== null && !Array.isArray(node) && !(node instanceof Tagged);

/** What a file says by itself. */
function alone(node: Node): Node {
  if (Array.isArray(node)) return node.map(alone);
  if (node instanceof Tagged) return node.tag === '!reset' ? undefined : node.value;
  if (!isTable(node)) return node;
  return Object.fromEntries(
    Object.entries(node)
      .map(([key, value]) => [key, alone(value)] as const)
      .filter(([, value]) => value !== undefined),
  );
}

const replaced = new Set(['command', 'entrypoint', 'test']);

/** Two files as Compose joins them: tables deeply, lists one after the other, commands and values by the later. */
function merge(below: Node, above: Node, key = ''): Node {
  if (above instanceof Tagged || below === undefined) return alone(above);
  if (Array.isArray(below) && Array.isArray(above) && !replaced.has(key)) return [...below, ...above];
  if (!isTable(below) || !isTable(above)) return above;
  const merged: Table = { ...below };
  for (const [name, value] of Object.entries(above)) {
    const joined = merge(below[name], value, name);
    if (joined === undefined) delete merged[name];
    else merged[name] = joined;
  }
  return merged;
}

const base = load('docker-compose.yml');
const override = load('docker-compose.prod.yml');
const services = (file: Node) => (file as { services: Record<string, Service> }).services;
const development = services(base);
const production = services(merge(base, override));

const service = (all: Record<string, Service>, name: string): Service => {
  const found = all[name];
  if (!found) throw new Error(`no service ${name}`);
  return found;
};

/** The variables that the processes read. */
const knownVariables = (): Set<string> => {
  const names = read('config/env.ts').match(/^ {2}[A-Z][A-Z_]+(?=: [a-z])/gm);
  const known = new Set(names?.map((name) => name.trim()));
  expect(known).toContain('DATABASE_URL');
  expect(known).toContain('PORT');
  return known;
};

const oneShot = new Set(['migrate', 'seed', 'temporal-schema', 'temporal-namespace']);
const ours = ['api', 'worker', 'migrate', 'seed'];
const secrets = /SECRET|PASSWORD|PWD|API_KEY|_URL$/;
/** Needed by those who are paid through Stripe, which the processes check, and while JWT_SECRET is being changed. */
const optional = new Set(['STRIPE_API_KEY', 'STRIPE_WEBHOOK_SECRET', 'JWT_ACCEPTED_SECRETS']);

describe('the Compose files', () => {
  let errorsOf: (file: Node) => unknown;

  beforeAll(() => {
    const ajv = new Ajv({ allErrors: true, strict: false });
    addFormats.default(ajv);
    const schema = JSON.parse(read('test/schemas/compose-spec.json')) as Table;
    const validate = ajv.compile({ ...schema, $schema: 'http://json-schema.org/draft-07/schema#' });
    errorsOf = (file) => (validate(file) ? [] : validate.errors);
  });

  it('follow the Compose Specification, each and together', () => {
    expect(errorsOf(base)).toEqual([]);
    expect(errorsOf(alone(override))).toEqual([]);
    expect(errorsOf(merge(base, override))).toEqual([]);
  });

  it('are checked by a schema that sees mistakes', () => {
    expect(errorsOf({ services: { api: { image: 'x', portz: [] } } })).not.toEqual([]);
    expect(
      errorsOf({ services: { api: { image: 'x', depends_on: { db: { condition: 'ready' } } } } }),
    ).not.toEqual([]);
  });
});

describe.each([
  ['development', development],
  ['production', production],
])('the platform in %s', (_, all) => {
  const names = Object.keys(all);

  it.each(names)('%s has a health check, or runs once and is waited for', (name) => {
    const { healthcheck, restart } = service(all, name);
    if (!oneShot.has(name)) {
      expect(healthcheck?.test?.[0]).toBe('CMD');
      expect(restart).toBe('unless-stopped');
      return;
    }
    expect(healthcheck).toEqual({ disable: true });
    expect(restart).toBe('no');
    // `up --wait` takes an ended container for a failure unless another service waits for its end.
    const conditions = names.map((other) => service(all, other).depends_on?.[name]?.condition);
    expect(conditions).toContain('service_completed_successfully');
  });

  it.each(names)('%s waits for services that exist, by the condition they can meet', (name) => {
    for (const [other, { condition }] of Object.entries(service(all, name).depends_on ?? {})) {
      expect(names).toContain(other);
      expect(condition).toBe(oneShot.has(other) ? 'service_completed_successfully' : 'service_healthy');
    }
  });

  it.each(names)('%s has a pinned image and publishes ports on this machine only', (name) => {
    const { image, ports } = service(all, name);
    if (!image.startsWith('${HOLDFAST_IMAGE')) expect(image).toMatch(/:\d+\.\d+/);
    for (const port of ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  it.each(ours.filter((name) => name in all))('%s runs locked down', (name) => {
    expect(service(all, name)).toMatchObject({
      init: true,
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
    });
  });

  it('passes only variables that config/env.ts knows', () => {
    const known = knownVariables();
    // These two are Temporal's own, read by its SDK.
    known.add('TEMPORAL_ADDRESS').add('TEMPORAL_NAMESPACE');
    for (const name of ours.filter((each) => each in all)) {
      for (const variable of Object.keys(service(all, name).environment ?? {}))
        expect(known).toContain(variable);
    }
  });

  it('mounts only files of the repository', () => {
    const sources = names
      .flatMap((name) => service(all, name).volumes ?? [])
      .map((volume) => volume.split(':')[0]!);
    const missing = sources.filter((source) => source.startsWith('.') && !existsSync(resolve(root, source)));
    expect(missing).toEqual([]);
  });
});

describe('production', () => {
  it('has neither demo data nor the inbox', () => {
    expect(Object.keys(production).sort()).toEqual(
      Object.keys(development)
        .filter((name) => name !== 'seed' && name !== 'inbox')
        .sort(),
    );
    expect(JSON.stringify(production)).not.toMatch(/inbox/);
  });

  it('has no default for a secret or an address', () => {
    const values = Object.values(production).flatMap(({ environment = {} }) => Object.entries(environment));
    const secret = values.filter(([name]) => secrets.test(name));
    expect(secret.length).toBeGreaterThan(8);
    for (const [name, value] of secret) {
      if (optional.has(name)) expect(value).toBe(`\${${name}:-}`);
      else expect(value, name).toMatch(/\$\{[A-Z_]+:\?/);
    }
    for (const name of ['MAIL_FROM', 'STOCK_MANAGER_EMAIL', 'PAYMENT_PROVIDER']) {
      for (const [, value] of values.filter(([each]) => each === name))
        expect(value).toMatch(/^\$\{[A-Z_]+:\?/);
    }
    expect(JSON.stringify(override)).not.toMatch(/\$\{[A-Z_]*(SECRET|PASSWORD|URL):?-/);
  });

  it('publishes no database and no Temporal port', () => {
    expect(service(production, 'postgres').ports).toBeUndefined();
    expect(service(production, 'temporal').ports).toBeUndefined();
    expect(service(production, 'api').ports).toHaveLength(1);
  });

  it('bounds the resources and the logs of every service', () => {
    for (const [name, { deploy, logging }] of Object.entries(production)) {
      expect(deploy?.resources?.limits, name).toMatchObject({
        cpus: expect.any(String),
        memory: expect.any(String),
      });
      expect(logging?.options, name).toHaveProperty('max-size');
    }
    expect(service(production, 'api').deploy?.replicas).toBeDefined();
    expect(service(production, 'worker').deploy?.replicas).toBeDefined();
  });
});

describe('every variable of config/env.ts', () => {
  it('is told in .env.example and in the README', () => {
    const told = [read('.env.example'), read('README.md')];
    for (const name of knownVariables())
      for (const text of told) expect(text, name).toMatch(new RegExp(`\\b${name}\\b`));
  });

  it('can be set of the processes in containers, but for what the image decides', () => {
    const decided = new Set(['HOST', 'WORKFLOW_BUNDLE']);
    const passed = new Set(
      ['api', 'worker'].flatMap((name) => Object.keys(service(production, name).environment ?? {})),
    );
    const missing = [...knownVariables()].filter((name) => !passed.has(name) && !decided.has(name));
    expect(missing).toEqual([]);
  });
});

describe('the image', () => {
  const dockerfile = read('Dockerfile');
  const build = JSON.parse(read('tsconfig.build.json')) as { include: string[] };

  it.each(ours)('has the command of %s', (name) => {
    const [program, script] = service(development, name).command ?? [];
    expect(program).toBe('node');
    const source = script!.replace(/^dist\//, '').replace(/\.js$/, '.ts');
    expect(existsSync(resolve(root, source)), source).toBe(true);
  });

  it('runs the API by default, as nobody in particular', () => {
    expect(dockerfile).toContain('CMD ["node", "dist/api/main.js"]');
    expect(dockerfile).toMatch(/^USER node$/m);
  });

  it('is built from every folder the compiler reads, and from files that exist', () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap((line) =>
      line[1]!.split(' '),
    );
    expect(copied).toEqual(expect.arrayContaining(build.include));
    for (const path of copied) expect(existsSync(resolve(root, path)), path).toBe(true);
  });
});

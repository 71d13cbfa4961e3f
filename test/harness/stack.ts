import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { expect, inject } from 'vitest';
import { connect, type Db } from '../../db/connect.ts';
import { freePort } from '../../dev/ports.ts';
import { namespaceOf, type Parts } from './global-setup.ts';
import { Api } from './http.ts';
import { type Process, startProcess } from './processes.ts';
import { eventually } from './wait.ts';

export interface Mail {
  subject: string;
  text: string;
  html: string;
  to: { address: string }[];
  messageId: string;
}

export interface StackOptions {
  parts?: Parts;
  namespace?: string;
  /** `false` starts none: the test does, with `startApi`. */
  api?: boolean;
  environment?: Record<string, string>;
  /** The folder of another compiled product, whose processes are started instead. */
  product?: string;
}

/** Everything a test needs of one running platform. */
export interface TestStack {
  parts: Parts;
  databaseUrl: string;
  db: Db;
  temporal: Client;
  api: Api;
  /** The demo logins' access tokens. */
  tokens: { john: string; jane: string; staff: string; admin: string };
  startApi(environment?: Record<string, string>): Promise<{ api: Api; process: Process }>;
  startWorker(environment?: Record<string, string>): Promise<Process>;
  /** Sets the stock of a sku to `onHand` units, of a product made for the test. */
  stock(sku: string, onHand: number, price?: number): Promise<void>;
  /** How many units of a sku orders hold. */
  reserved(sku: string): Promise<number>;
  /** The mails whose subject names this order. */
  mailsAbout(number: string): Promise<Mail[]>;
  stop(): Promise<void>;
}

export const JWT_SECRET = 'a-secret-that-is-only-used-by-these-tests';

/** Starts an API process on a fresh copy of the demo database, in the namespace of the test file. */
export async function startStack(options: StackOptions = {}): Promise<TestStack> {
  const parts = options.parts ?? inject('parts');
  const product = options.product ?? parts.product;
  const testFile = expect.getState().testPath ?? 'none';
  const namespace = options.namespace ?? namespaceOf(testFile);
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-stack-'));
  const databaseUrl = await copyDatabase(
    parts,
    `test_${basename(folder).toLowerCase().replaceAll(/\W/g, '_')}`,
  );
  const { db } = connect(databaseUrl, { max: 8, name: 'test' });
  const connection = await Connection.connect({ address: parts.temporalAddress });
  const temporal = new Client({ connection, namespace });
  const running: Process[] = [];
  /** What the inbox had when it was last asked: it is asked for the rest only, because it fills up. */
  const mails: Mail[] = [];

  const environment = {
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: parts.temporalAddress,
    TEMPORAL_NAMESPACE: namespace,
    TEMPORAL_CONFIG_FILE: join(folder, 'none.toml'),
    SMTP_URL: parts.smtpUrl,
    JWT_SECRET,
    WORKFLOW_BUNDLE: parts.workflowBundle,
    RATE_LIMIT_PER_MINUTE: '1000000',
    WEBHOOK_ALLOW_PRIVATE: 'true',
    // Without a line for each request, of which there are tens of thousands.
    LOG_LEVEL: 'warn',
    ...options.environment,
  };

  const startApi = async (more: Record<string, string> = {}) => {
    const port = await freePort();
    const api = new Api(`http://127.0.0.1:${port}`);
    const process = await startProcess(
      product,
      'api/main.js',
      { ...environment, PORT: String(port), ...more },
      join(folder, `api-${port}.log`),
      async () => (await api.request('GET', '/readyz')).status === 200,
    );
    running.push(process);
    return { api, process };
  };

  const startWorker = async (more: Record<string, string> = {}) => {
    const port = await freePort();
    const process = await startProcess(
      product,
      'workers/main.js',
      { ...environment, WORKER_HTTP_PORT: String(port), ...more },
      join(folder, `worker-${port}.log`),
      async () => (await (await fetch(`http://127.0.0.1:${port}/livez`)).text()) === 'RUNNING',
    );
    running.push(process);
    return process;
  };

  const stop = async (): Promise<void> => {
    await Promise.all(running.map((process) => process.stop()));
    await db.destroy();
    await connection.close();
    rmSync(folder, { recursive: true, force: true });
  };

  const api = options.api === false ? new Api('http://127.0.0.1:1') : (await startApi()).api;
  const login = (email: string) => (options.api === false ? Promise.resolve('') : api.login(email));
  const [john, jane, staff, admin] = await Promise.all(
    ['john.smith@example.com', 'jane.doe@example.com', 'staff@example.com', 'admin@example.com'].map(login),
  );

  return {
    parts,
    databaseUrl,
    db,
    temporal,
    api,
    tokens: { john: john!, jane: jane!, staff: staff!, admin: admin! },
    startApi,
    startWorker,
    async stock(sku, onHand, price = 1000) {
      await db
        .insertInto('catalogue.products')
        .values({ sku, name: `Product ${sku}`, price, currency: 'USD' })
        .execute();
      await db.insertInto('inventory.stock').values({ sku, on_hand: onHand }).execute();
    },
    async reserved(sku) {
      const stock = await db
        .selectFrom('inventory.stock')
        .select('reserved')
        .where('sku', '=', sku)
        .executeTakeFirstOrThrow();
      return stock.reserved;
    },
    async mailsAbout(number) {
      const known = mails.length;
      const response = await fetch(`${parts.inboxUrl}/email?skip=${known}`);
      mails.splice(known, Infinity, ...((await response.json()) as Mail[]));
      return mails.filter((mail) => mail.subject.includes(number));
    },
    stop,
  };
}

async function copyDatabase(parts: Parts, name: string): Promise<string> {
  const template = new URL(parts.databaseUrl).pathname.slice(1);
  const admin = new pg.Client({ connectionString: parts.superuserUrl });
  await admin.connect();
  try {
    await eventually('the template database is free to be copied', async () => {
      await admin.query(
        `create database ${admin.escapeIdentifier(name)} template ${admin.escapeIdentifier(template)} owner holdfast`,
      );
      return true;
    });
  } finally {
    await admin.end();
  }
  const url = new URL(parts.databaseUrl);
  url.pathname = `/${name}`;
  return url.href;
}

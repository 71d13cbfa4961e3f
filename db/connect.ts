import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresDialect,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type Transaction,
} from 'kysely';
import pg from 'pg';
import type { Schema } from './schema.ts';

export type Db = Kysely<Schema>;
export type Trx = Transaction<Schema>;

const INT8 = pg.types.builtins.INT8;

/** bigint columns hold money and counters far below 2^53, so they are read as numbers. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

const MAX_PREPARED = 200;
const preparedNames = new Map<string, string>();

/**
 * A connection that prepares every statement with parameters once and then sends only its name, which saves Postgres
 * from parsing and planning it each time. Bounded, because a connection keeps what it prepared.
 */
class PreparingClient extends pg.Client {
  // The overloads of pg's query cannot be repeated here; Kysely and this project call it with text and values.
  override query = ((text: unknown, values?: unknown, ...rest: unknown[]) => {
    const send = super.query.bind(this) as (...args: unknown[]) => unknown;
    if (typeof text !== 'string' || !Array.isArray(values) || values.length === 0) {
      return send(text, values, ...rest);
    }
    let name = preparedNames.get(text);
    if (name === undefined && preparedNames.size < MAX_PREPARED) {
      name = `holdfast_${preparedNames.size}`;
      preparedNames.set(text, name);
    }
    return send(name === undefined ? { text, values } : { name, text, values }, ...rest);
  }) as pg.Client['query'];
}

/**
 * Every statement reads by key or walks an index in its order, which a bitmap loses: Postgres would read and sort all that
 * a customer ever ordered for one page of it, where its statistics say that this is not much.
 */
const WALKING = '-c enable_bitmapscan=off';

/**
 * A search by words is planned anew each time: what it should read depends on how common its words are. The catalogue is
 * in memory, so that rows are to be counted rather than pages; and what an entry of the index of words costs is more than
 * Postgres takes it for, by what gathering the rows of common words was measured to take.
 */
const SEARCHING = [
  '-c plan_cache_mode=force_custom_plan',
  '-c enable_seqscan=off',
  '-c seq_page_cost=0.1',
  '-c random_page_cost=0.1',
  '-c cpu_index_tuple_cost=0.03',
].join(' ');

/**
 * A pool of connections and the query builder on it. Statements are bounded in time, so that a lost server or a
 * stuck lock becomes an error and never a hanging caller; a migration may take its time and says 0. Statements are planned
 * for walking indexes, or, with `searching`, for finding words.
 */
export function connect(
  url: string,
  options: { max: number; name: string; statementSeconds?: number; searching?: boolean },
): { db: Db; pool: pg.Pool } {
  const { statementSeconds = 10, searching = false } = options;
  const pool = new pg.Pool({
    Client: PreparingClient,
    connectionString: url,
    max: options.max,
    types,
    application_name: options.name,
    options: searching ? SEARCHING : WALKING,
    connectionTimeoutMillis: 5_000,
    statement_timeout: statementSeconds * 1000,
    query_timeout: statementSeconds * 1200,
    idle_in_transaction_session_timeout: 15_000,
    keepAlive: true,
  });
  // A lost connection fails its query, and the pool opens another one. Without these listeners, of which the pool's own
  // is off while a connection is lent out, losing one would end the process.
  const ignore = (): void => undefined;
  pool.on('error', ignore);
  pool.on('connect', (client) => client.on('error', ignore));
  return { db: new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) }), pool };
}

/** Builds statements, and has no connection to run them on. */
export const statements: Db = new Kysely<Schema>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
});

const CONNECTION_FAILURES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  '08000',
  '08001',
  '08003',
  '08004',
  '08006',
  '53300',
  '57014',
  '57P01',
  '57P02',
  '57P03',
]);

/** Whether an error says that Postgres cannot be reached or does not answer now, so that trying later may help. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && CONNECTION_FAILURES.has(code)) return true;
  return /connection terminated|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error/i.test(
    error.message,
  );
}

const SERIALIZATION_FAILURE = '40001';
const DEADLOCK_DETECTED = '40P01';

/** Whether Postgres has undone a transaction because it and others were in each other's way: again, it may well go. */
export const isUndoneForOthers = (error: unknown): boolean =>
  [SERIALIZATION_FAILURE, DEADLOCK_DETECTED].includes(String((error as { code?: unknown } | null)?.code));

/** The constraint a statement ran into, where Postgres named one (SQLSTATE class 23). */
export function violatedConstraint(error: unknown): string | undefined {
  const { code, constraint } = error as { code?: unknown; constraint?: unknown };
  return typeof code === 'string' && code.startsWith('23') && typeof constraint === 'string'
    ? constraint
    : undefined;
}

import { type CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import type pg from 'pg';
import { connect, type Db } from '../../db/connect.ts';
import type { Schema } from '../../db/schema.ts';

/** A step of a plan, with what it did. */
export interface PlanNode {
  type: string;
  relation: string | undefined;
  /** How many rows it looked at, over all its loops: those it passed on and those it dropped. */
  rows: number;
}

export interface Explainer {
  /** The plans of all statements that `run` sends, as Postgres makes them with and without knowing the parameters. */
  plansOf(run: (db: Db) => Promise<unknown>): Promise<PlanNode[][]>;
  stop(): Promise<void>;
}

/** Explains statements on connections like those of the product. */
export function createExplainer(databaseUrl: string, { searching = false } = {}): Explainer {
  const { pool } = connect(databaseUrl, { max: 2, name: 'test-plans', searching });
  // Connections for searching plan with the parameters only.
  const modes = searching ? ['force_custom_plan'] : ['force_custom_plan', 'force_generic_plan'];
  const sent: CompiledQuery[] = [];
  const db = new Kysely<Schema>({
    dialect: new PostgresDialect({ pool }),
    log: ({ query }) => void sent.push(query),
  });
  return {
    async plansOf(run) {
      await run(db);
      const queries = sent.splice(0);
      const client = await pool.connect();
      try {
        const plans: PlanNode[][] = [];
        for (const query of queries) {
          for (const mode of modes) {
            plans.push(await explain(client, query, mode));
          }
        }
        return plans;
      } finally {
        client.release();
      }
    },
    stop: () => db.destroy(),
  };
}

interface ExplainedNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  Plans?: ExplainedNode[];
}

async function explain(client: pg.PoolClient, query: CompiledQuery, mode: string): Promise<PlanNode[]> {
  const literals = query.parameters.map((value) => client.escapeLiteral(textOf(value))).join(', ');
  await client.query(`set plan_cache_mode = ${mode}`);
  await client.query(`prepare explained as ${query.sql}`);
  try {
    const { rows } = await client.query<{ 'QUERY PLAN': { Plan: ExplainedNode }[] }>(
      `explain (analyze, format json) execute explained ${literals && `(${literals})`}`,
    );
    return nodesOf(rows[0]!['QUERY PLAN'][0]!.Plan);
  } finally {
    await client.query('deallocate explained');
  }
}

const textOf = (value: unknown): string => {
  if (value instanceof Date) return value.toISOString();
  return Array.isArray(value) ? `{${value.join(',')}}` : String(value);
};

const nodesOf = (node: ExplainedNode): PlanNode[] => [
  {
    type: node['Node Type'],
    relation: node['Relation Name'],
    rows: (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'],
  },
  ...(node.Plans ?? []).flatMap(nodesOf),
];

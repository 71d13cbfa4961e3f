import type { RequestHandler } from 'express';
import type pg from 'pg';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Db } from '../db/connect.ts';
import { countWaiting } from '../db/outbox.ts';
import { countFindings } from '../db/reconciliation.ts';
import { FINDINGS } from '../domain/reconciling.ts';
import type { OrderStatus } from '../domain/states.ts';
import type { CircuitPosition } from '../providers/circuit.ts';

export interface Metrics {
  /** Counts the orders that come to a status. */
  countOutcome(status: OrderStatus): void;
  /** Counts the orders that the API accepted, by who places them. */
  countAccepted(lane: string): void;
  /** Notes whether calls to a company outside, or starts of workflows, are let through. */
  noteCircuit(company: string, state: CircuitPosition): void;
  /** Times every request by route, method and status. */
  requests: RequestHandler;
  /** All metrics of this process, those of the Temporal SDK included, in the Prometheus text format. */
  render(): Promise<string>;
}

/** The metrics of a process that works with `pool`; `sdkMetrics` reads those of the Temporal SDK. */
export function createMetrics(db: Db, pool: pg.Pool, sdkMetrics: () => Promise<string>): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });

  const outcomes = new Counter({
    name: 'holdfast_orders_total',
    help: 'Orders that this process brought to a status, by that status.',
    labelNames: ['outcome'],
    registers: [registry],
  });
  for (const outcome of ['confirmed', 'rejected', 'cancelled']) outcomes.inc({ outcome }, 0);

  const accepted = new Counter({
    name: 'holdfast_orders_accepted_total',
    help: 'Orders that this process accepted: placed by their workflow, or directly, ahead of it.',
    labelNames: ['lane'],
    registers: [registry],
  });
  for (const lane of ['workflow', 'direct']) accepted.inc({ lane }, 0);

  const waiting = new Gauge({
    name: 'holdfast_outbox_orders',
    help: 'Orders whose workflows have still to hear of them; the same in every process.',
    registers: [registry],
  });
  const waitingSince = new Gauge({
    name: 'holdfast_outbox_oldest_seconds',
    help: 'For how long the oldest of them has waited.',
    registers: [registry],
  });

  registry.registerMetric(
    new Counter({
      name: 'holdfast_reconcile_findings_total',
      help: 'What reconciling found wrong, by kind, and whether it could be put right; the same in every process.',
      labelNames: ['kind', 'healed'],
      registers: [],
      async collect() {
        const counts = await countFindings(db).catch(() => []);
        if (counts.length > 0) this.reset();
        for (const kind of FINDINGS) this.inc({ kind, healed: 'true' }, 0);
        for (const { kind, healed, count } of counts) this.inc({ kind, healed: String(healed) }, count);
      },
    }),
  );

  const circuits = new Gauge({
    name: 'holdfast_circuit_open',
    help: '1 while calls to a company outside, or to Temporal, are not let through, 0.5 while one tries.',
    labelNames: ['company'],
    registers: [registry],
  });

  const duration = new Histogram({
    name: 'holdfast_http_request_duration_seconds',
    help: 'HTTP requests by method, route and status.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  });

  const connections = new Gauge({
    name: 'holdfast_pool_connections',
    help: 'Connections of the Postgres pool by state; waiting are requests for one.',
    labelNames: ['state'],
    registers: [registry],
  });

  return {
    countOutcome: (outcome) => outcomes.inc({ outcome }),
    countAccepted: (lane) => accepted.inc({ lane }),
    noteCircuit: (company, state) => circuits.set({ company }, { open: 1, half_open: 0.5, closed: 0 }[state]),
    requests(request, response, next) {
      const stop = duration.startTimer({ method: request.method });
      response.once('close', () => {
        const route = (request.route as { path?: string } | undefined)?.path ?? 'none';
        stop({ route, status: String(response.statusCode) });
      });
      next();
    },
    async render() {
      const outbox = await countWaiting(db).catch(() => undefined);
      if (outbox) {
        waiting.set(outbox.count);
        waitingSince.set(outbox.oldest ? (Date.now() - outbox.oldest.getTime()) / 1000 : 0);
      }
      connections.set({ state: 'idle' }, pool.idleCount);
      connections.set({ state: 'busy' }, pool.totalCount - pool.idleCount);
      connections.set({ state: 'waiting' }, pool.waitingCount);
      const [own, sdk] = await Promise.all([registry.metrics(), sdkMetrics().catch(() => '')]);
      return `${own}\n${sdk}`;
    },
  };
}

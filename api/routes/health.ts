import { z } from 'zod';
import { type Endpoint, endpoint } from '../endpoint.ts';
import type { Readiness } from '../health.ts';

const live = z.object({ status: z.literal('ok') });
const ready = z
  .object({
    status: z.enum(['ok', 'degraded', 'unavailable']),
    parts: z.record(z.string(), z.enum(['ok', 'down'])),
  })
  .meta({ id: 'Readiness' });

export interface HealthDeps {
  readiness(): Promise<Readiness>;
  metrics(): Promise<string>;
}

export function healthEndpoints({ readiness, metrics }: HealthDeps): Endpoint[] {
  return [
    endpoint({
      method: 'get',
      path: '/livez',
      tag: 'Operations',
      summary: 'Whether this process runs',
      access: 'public',
      unlimited: true,
      answers: { 200: { description: 'It does', body: live } },
      async handle({ response }) {
        response.json({ status: 'ok' });
      },
    }),
    endpoint({
      method: 'get',
      path: '/readyz',
      tag: 'Operations',
      summary: 'Whether orders can be taken, and which parts answer',
      access: 'public',
      unlimited: true,
      answers: {
        200: {
          description: '`ok`, or `degraded` when a part is down that orders can do without',
          body: ready,
        },
        503: { description: 'A needed part is down', body: ready },
      },
      async handle({ response }) {
        const found = await readiness();
        if (found.status === 'unavailable') response.status(503).setHeader('Retry-After', '2');
        response.setHeader('Cache-Control', 'no-store').json(found);
      },
    }),
    endpoint({
      method: 'get',
      path: '/metrics',
      tag: 'Operations',
      summary: 'Metrics in the Prometheus text format',
      access: 'public',
      unlimited: true,
      answers: { 200: { description: 'The metrics', contentType: 'text/plain', body: z.string() } },
      async handle({ response }) {
        response.type('text/plain; version=0.0.4').send(await metrics());
      },
    }),
  ];
}

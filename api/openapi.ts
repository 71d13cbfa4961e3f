import { extendZodWithOpenApi, OpenApiGeneratorV31, OpenAPIRegistry } from '@asteasolutions/zod-to-openapi';
import { z } from 'zod';
import { type ErrorCode, ERRORS } from '../domain/errors.ts';
import type { Endpoint } from './endpoint.ts';
import { HEADER_SCHEMAS } from './preconditions.ts';
import { problem } from './schemas.ts';

extendZodWithOpenApi(z);

/** The OpenAPI 3.1 description of the endpoints, made from the very schemas that validate their requests. */
export function describeApi(endpoints: Endpoint[]) {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    description: 'An access token (JWT) from `POST /v1/auth/login`, or an API key',
  });
  for (const definition of endpoints) registry.registerPath(describe(definition));
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Holdfast',
      version: '1',
      description:
        'Durable order processing on Temporal. Money is an integer in minor units beside its currency.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
  });
}

/** A path as the description writes it: `/v1/orders/{id}` for Express's `/v1/orders/:id`. */
export const templateOf = (path: string): string => path.replaceAll(/:(\w+)/g, '{$1}');

function describe(definition: Endpoint): Parameters<OpenAPIRegistry['registerPath']>[0] {
  const headers = Object.entries(definition.headers ?? {}).map(([name, { description, required }]) => {
    const form = HEADER_SCHEMAS[name] ?? z.string();
    const schema = form.meta({ description, param: { name, in: 'header' } });
    return [name, required ? schema : schema.optional()] as const;
  });
  const { access } = definition;
  const login = access === 'public' ? [] : [{ bearer: [] }, ...(access.includes('nobody') ? [{}] : [])];
  return {
    method: definition.method,
    path: templateOf(definition.path),
    operationId: operationId(definition),
    tags: [definition.tag],
    summary: definition.summary,
    security: login,
    ...(access !== 'public' && { description: `For: ${access.join(', ')}.` }),
    request: {
      ...(definition.params && { params: definition.params }),
      ...(definition.query && { query: definition.query }),
      ...(headers.length > 0 && { headers: z.object(Object.fromEntries(headers)) }),
      ...(definition.body && {
        body: {
          required: !definition.bodyOptional,
          content: { 'application/json': { schema: definition.body } },
        },
      }),
      ...(definition.stream && {
        body: {
          required: true,
          content: Object.fromEntries(definition.stream.map((type) => [type, { schema: z.string() }])),
        },
      }),
    },
    responses: { ...answersOf(definition), ...problemsOf(definition) },
  };
}

const operationId = ({ method, path }: Endpoint): string =>
  `${method}${path
    .replace('/v1', '')
    .split(/[/:]+/)
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join('')}`;

const answersOf = ({ answers }: Endpoint) =>
  Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => [
      status,
      {
        description: answer.description,
        ...(answer.body && {
          content: Object.fromEntries(
            [answer.contentType ?? 'application/json'].flat().map((type) => [type, { schema: answer.body! }]),
          ),
        }),
        ...(answer.headers && {
          headers: Object.fromEntries(
            Object.entries(answer.headers).map(([name, description]) => [
              name,
              { description, schema: { type: 'string' as const } },
            ]),
          ),
        }),
      },
    ]),
  );

function problemsOf(definition: Endpoint) {
  const codes = new Set<ErrorCode>([
    ...(definition.problems ?? []),
    'rate_limited',
    'internal_error',
    'unavailable',
  ]);
  if (definition.access !== 'public') codes.add('unauthenticated').add('forbidden');
  if (definition.body || definition.raw || definition.stream)
    codes.add('payload_too_large').add('unsupported_media_type');
  if (definition.raw || definition.stream) codes.add('invalid_request');
  if (definition.body) codes.add('invalid_json').add('validation_failed');
  if (definition.params) codes.add('not_found');
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) {
    const { status } = ERRORS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus]
      .filter(([status]) => !(status in definition.answers))
      .map(([status, some]) => [
        status,
        {
          description: some.map((code) => `\`${code}\`: ${ERRORS[code].title}`).join('; '),
          content: { 'application/problem+json': { schema: problem } },
        },
      ]),
  );
}

import { z } from 'zod';
import { OrderPlatformError } from '../../domain/errors.ts';
import { CHANNELS, LANGUAGES, type RenderMessage } from '../../domain/notifications.ts';
import { type Endpoint, endpoint, STAFF } from '../endpoint.ts';
import { neededBy, TEMPLATE_NAMES, templateOf } from '../message-templates.ts';
import { pageOf, pageQuery, readCursor, sendPage } from '../pagination.ts';

const template = z
  .object({
    name: z.string(),
    channels: z.array(z.enum(CHANNELS)),
    variables: z.array(z.string()).meta({ description: 'Those it cannot do without' }),
  })
  .meta({ id: 'NotificationTemplate' });

const preview = z
  .object({
    subject: z.string().nullable(),
    text: z.string(),
    html: z.string().nullable(),
    version: z.string().meta({ description: 'Of the wording; noted with what was sent' }),
  })
  .meta({ id: 'NotificationPreview' });

const variableNames = new Set(
  TEMPLATE_NAMES.flatMap((name) => Object.keys(templateOf(name).variables.shape)),
);
/** So that all of them, escaped, fit in a request line. */
const MAX_GIVEN = 1_000;
const givenVariables = Object.fromEntries(
  [...variableNames].map((name) => [
    name,
    z
      .string()
      .max(MAX_GIVEN)
      .optional()
      .meta({ description: 'A variable: text, or JSON where it is no text' }),
  ]),
);
const tag = 'Notifications';

export function notificationTemplateEndpoints({ render }: { render: RenderMessage }): Endpoint[] {
  return [
    endpoint({
      method: 'get',
      path: '/v1/notification-templates',
      tag,
      summary: 'List the templates by name',
      access: STAFF,
      query: z.object(pageQuery),
      answers: {
        200: {
          description: 'A page of templates',
          body: pageOf(template),
          headers: { Link: 'The next page' },
        },
      },
      problems: ['invalid_query', 'invalid_cursor'],
      async handle({ query, request, response }) {
        const after = readCursor(query.cursor, z.enum(TEMPLATE_NAMES));
        const rows = TEMPLATE_NAMES.filter((name) => after === undefined || name > after).map((name) => ({
          name,
          channels: CHANNELS,
          variables: neededBy(name),
        }));
        sendPage(request, response, { rows, limit: query.limit, positionOf: ({ name }) => name });
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/notification-templates/:name/preview',
      tag,
      summary: 'See how a message reads: with example variables, or with all that are given in the query',
      access: STAFF,
      params: z.object({ name: z.enum(TEMPLATE_NAMES) }),
      query: z.object({
        language: z.enum(LANGUAGES).default('en'),
        channel: z.enum(CHANNELS).default('email'),
        ...givenVariables,
      }),
      answers: { 200: { description: 'The message', body: preview } },
      problems: ['not_found', 'invalid_query', 'validation_failed'],
      async handle({ params: { name }, query, response }) {
        const { language, channel, ...given } = query;
        const { variables: schema, example } = templateOf(name);
        const isGiven = Object.keys(given).length > 0;
        const variables = isGiven ? readVariables(schema, given) : example;
        response.json(render(name, channel, language, variables));
      },
    }),
  ];
}

/** Variables out of a query, as POST /v1/notifications would take them. Throws `validation_failed`. */
function readVariables(schema: z.ZodObject, given: Record<string, unknown>): Record<string, unknown> {
  const read = Object.entries(given).map(([name, value]) => [
    name,
    readVariable(schema, name, String(value)),
  ]);
  const result = schema.safeParse(Object.fromEntries(read));
  if (result.success) return result.data;
  const errors = result.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ pointer: `/${key}`, detail: 'The template has no such variable' }))
      : [{ pointer: `/${issue.path.join('/')}`, detail: issue.message }],
  );
  throw new OrderPlatformError('validation_failed', 'The variables are not what the template needs.', {
    errors,
  });
}

/** Text as it is, where the variable takes text; else what it says as JSON. */
function readVariable({ shape }: z.ZodObject, name: string, value: string): unknown {
  const schema = Object.hasOwn(shape, name) ? (shape[name] as z.ZodType) : undefined;
  if (!schema || schema.safeParse(value).success) return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

import { z } from 'zod';
import { EVENT_TYPE_PATTERN } from '../domain/events.ts';
import { DELIVERY_STATUSES } from '../domain/webhooks.ts';
import { prose, text, timestamp } from './schemas.ts';

const MAX_TYPES = 50;

/** What stands against sending webhooks to a URL; undefined for nothing. */
export type ObjectionTo = (url: string) => string | undefined;

const url = (objectionTo: ObjectionTo) =>
  text(2000).superRefine((value, context) => {
    const objection = objectionTo(value);
    if (objection !== undefined) context.addIssue({ code: 'custom', message: objection });
  });

const eventTypes = z
  .array(z.string().regex(EVENT_TYPE_PATTERN, 'A type of events, for example order.placed or return.*'))
  .max(MAX_TYPES)
  .meta({ description: 'Which events it hears of; all where there is none' });

export const createEndpoint = (objectionTo: ObjectionTo) =>
  z.strictObject({
    url: url(objectionTo),
    eventTypes: eventTypes.default([]),
    description: prose(500).default(''),
    enabled: z.boolean().default(true),
  });

export const changeEndpoint = (objectionTo: ObjectionTo) =>
  z
    .strictObject({
      url: url(objectionTo),
      eventTypes,
      description: prose(500),
      enabled: z.boolean(),
    })
    .partial();

const endpointFields = z.object({
  id: z.string(),
  url: z.string(),
  eventTypes: z.array(z.string()),
  description: z.string(),
  enabled: z.boolean(),
  disabledReason: z.enum(['gone', 'failing']).nullable().meta({
    description: 'Why we disabled it: it answered 410, or nothing reached it for days',
  }),
  createdAt: timestamp,
  updatedAt: timestamp,
});

export const webhookEndpoint = endpointFields.meta({ id: 'WebhookEndpoint' });

export const newWebhookEndpoint = endpointFields
  .extend({ secret: z.string().optional() })
  .meta({ id: 'NewWebhookEndpoint' });

export const webhookDelivery = z
  .object({
    id: z.string().meta({ description: 'Also the `webhook-id` of every attempt' }),
    endpointId: z.string(),
    eventType: z.string(),
    orderId: z.string().nullable(),
    status: z.enum(DELIVERY_STATUSES),
    attempts: z.array(
      z.object({
        at: timestamp,
        status: z.int().optional(),
        error: z.string().optional(),
        durationMs: z.int(),
      }),
    ),
    nextAttemptAt: timestamp.nullable(),
    createdAt: timestamp,
    payload: z.object({ type: z.string(), timestamp, data: z.record(z.string(), z.unknown()) }),
  })
  .meta({ id: 'WebhookDelivery' });

import { z } from 'zod';
import { CHANNELS, LANGUAGES, NOTIFICATION_STATUSES } from '../domain/notifications.ts';
import { isTimeZone } from '../domain/quiet-hours.ts';
import { TEMPLATE_NAMES, templateOf } from './message-templates.ts';
import { text, timestamp } from './schemas.ts';

const phone = z.string().regex(/^\+[1-9]\d{6,14}$/, 'A phone number is written as +14155550100 (E.164)');
const clock = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'A time is written as 21:30');

export const notification = z
  .object({
    id: z.guid(),
    channel: z.enum(CHANNELS),
    recipient: z.string(),
    template: z.string(),
    subject: z.string().nullable(),
    body: z.string().nullable(),
    status: z.enum(NOTIFICATION_STATUSES),
    attempts: z.array(z.object({ at: timestamp, error: z.string().optional() })),
    customerId: z.guid().optional(),
    orderId: z.guid().optional(),
    eventType: z.string().optional(),
    createdAt: timestamp,
  })
  .meta({ id: 'Notification' });

const recipients = {
  email: z.email().max(320),
  sms: z.union(
    [phone, z.guid()],
    "An SMS goes to a phone number, written as +14155550100 (E.164), or to a customer's id",
  ),
  push: text(200),
};

/** The variables are judged by what the template needs, the recipient by the channel. */
export const sendNotification = z
  .strictObject({
    channel: z.enum(CHANNELS),
    recipient: text(320).meta({
      description:
        "An email address; for an SMS a phone number (E.164) or a customer's id; for a push a customer's id or a device's token",
    }),
    template: z.enum(TEMPLATE_NAMES),
    variables: z.record(z.string(), z.unknown()),
  })
  .superRefine(({ channel, recipient, template, variables }, context) => {
    const problems = [
      ...issuesOf(recipients[channel], recipient, 'recipient'),
      ...issuesOf(templateOf(template).variables, variables, 'variables'),
    ];
    for (const problem of problems) context.addIssue(problem);
  })
  // In the order of the template: what is sent in another order is the same request.
  .transform((message) => ({
    ...message,
    variables: templateOf(message.template).variables.parse(message.variables),
  }))
  .meta({ id: 'SendNotification' });

/** What a schema has against a part of a body, as problems of the whole. */
function issuesOf(schema: z.ZodType, value: unknown, part: string) {
  const { error } = schema.safeParse(value);
  return (error?.issues ?? []).flatMap((issue) => {
    const path = [part, ...issue.path];
    return issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          code: 'custom' as const,
          path: [...path, key],
          message: 'The template has no such variable',
        }))
      : [{ code: 'custom' as const, path, message: issue.message }];
  });
}

export const replayNotifications = z
  .strictObject({
    status: z.enum(['queued', 'dead_letter']),
    channel: z.enum(CHANNELS).optional(),
    from: timestamp.optional(),
    to: timestamp.optional().meta({ description: 'Exclusive' }),
  })
  .meta({ id: 'ReplayNotifications' });

export const preferences = z
  .strictObject({
    channels: z.strictObject({ email: z.boolean(), sms: z.boolean(), push: z.boolean() }),
    phone: phone.optional().meta({
      description:
        "Where SMS go; without it to the customer's id, by which the SMS company may know the number",
    }),
    quietHours: z
      .strictObject({
        start: clock,
        end: clock,
        timeZone: z.string().max(100).refine(isTimeZone, 'There is no such time zone (IANA)'),
      })
      .optional(),
    language: z.enum(LANGUAGES),
  })
  .meta({ id: 'NotificationPreferences' });

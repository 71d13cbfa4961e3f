/** The ways to tell somebody something. */
export const CHANNELS = ['email', 'sms', 'push'] as const;
export type Channel = (typeof CHANNELS)[number];

export const NOTIFICATION_STATUSES = ['queued', 'sent', 'dead_letter'] as const;
export type NotificationStatus = (typeof NOTIFICATION_STATUSES)[number];

export const LANGUAGES = ['en', 'de'] as const;
export type Language = (typeof LANGUAGES)[number];

/** How a customer wants to be told. */
export interface Preferences {
  channels: Record<Channel, boolean>;
  /** E.164; without it SMS go to the customer's id. */
  phone?: string;
  quietHours?: QuietHours;
  language: Language;
}

/** From `start` to `end`, both `HH:MM` on the clocks of an IANA time zone, also over midnight. */
export interface QuietHours {
  start: string;
  end: string;
  timeZone: string;
}

/** Each try to send a notification, with what went wrong. */
export interface Attempt {
  at: string;
  error?: string;
}

/** A notification as the API tells it. */
export interface Notification {
  id: string;
  channel: Channel;
  recipient: string;
  template: string;
  subject: string | null;
  body: string | null;
  status: NotificationStatus;
  attempts: Attempt[];
  customerId?: string;
  orderId?: string;
  eventType?: string;
  createdAt: string;
}

/** A message in its wording: what of it a channel has no place for is null. */
export interface RenderedMessage {
  /** One line: the subject of an email, the title of a push. */
  subject: string | null;
  text: string;
  /** Escaped. */
  html: string | null;
  /** Tells this wording from earlier and later ones. */
  version: string;
}

/**
 * Puts a template with its variables into words. Throws where there is no such template, or a variable is missing or not
 * what the template needs.
 */
export type RenderMessage = (
  template: string,
  channel: Channel,
  language: string,
  variables: Record<string, unknown>,
) => RenderedMessage;

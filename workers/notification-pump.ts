import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { type NotificationSender, PUMPED_AT_ONCE } from '../activities/notification-sender.ts';
import { isTemporalUnavailable } from '../client/calls.ts';
import type { SideWorkflows } from '../client/side-workflows.ts';
import type { Db } from '../db/connect.ts';
import { claimDue, type NotificationToSend, takeBack } from '../db/notifications.ts';
import { type Channel, CHANNELS } from '../domain/notifications.ts';
import { startRounds } from './rounds.ts';

/** Sends the notifications that no order's workflow sends itself, as soon as they are due. */
export interface NotificationPump {
  /** Says that a notification is due; else it looks once a second. */
  wake(): void;
  /** Ends after what has begun. */
  stop(): Promise<void>;
}

/** So many are taken up at once, each channel has places of its own: mail and SMS only when they can be sent at once. */
const PLACES: Record<Channel, number> = { email: PUMPED_AT_ONCE, sms: PUMPED_AT_ONCE, push: 32 };
/** While orders are coming in numbers, so that those are taken first. */
const PLACES_IN_BURST: Record<Channel, number> = { email: 1, sms: 1, push: 1 };
const LOOK_EVERY_MS = 1_000;
/** While there was something to send when it looked last. */
const LOOK_AGAIN_MS = 200;
/** What can be handed to no workflow is tried again after that. */
const TAKE_BACK_MS = 30_000;

export interface NotificationPumpOptions {
  db: Db;
  notifications: NotificationSender;
  sideflows: SideWorkflows;
  logger: Logger;
  /** Whether orders are coming in faster than they can be followed up. */
  isBurst(): boolean;
}

export function startNotificationPump({
  db,
  notifications,
  sideflows,
  logger,
  isBurst,
}: NotificationPumpOptions): NotificationPump {
  const inFlight: Record<Channel, Set<Promise<void>>> = { email: new Set(), sms: new Set(), push: new Set() };
  const slots = {
    email: pLimit(PUMPED_AT_ONCE),
    sms: pLimit(PUMPED_AT_ONCE),
    push: pLimit(PUMPED_AT_ONCE),
  };

  /** One try here; where it fails its workflow keeps trying. Never throws: another one finds what is left. */
  const send = async (notification: NotificationToSend): Promise<void> => {
    const { id: notificationId } = notification;
    try {
      await notifications.send(notification);
    } catch {
      await sideflows.startNotification(notificationId).catch(async (error: unknown) => {
        if (!isTemporalUnavailable(error)) logger.error({ err: error, notificationId }, 'It is tried later');
        await takeBack(db, notificationId, new Date(Date.now() + TAKE_BACK_MS)).catch(() => undefined);
      });
    }
  };

  /** Takes up what is due, and looks again as soon as it can where there may be more than it had places for. */
  const pump = async (): Promise<boolean> => {
    const places = isBurst() ? PLACES_IN_BURST : PLACES;
    const free = {
      email: places.email - inFlight.email.size,
      sms: places.sms - inFlight.sms.size,
      push: places.push - inFlight.push.size,
    };
    const claimed = await claimDue(db, free);
    for (const channel of CHANNELS) {
      const due = claimed.filter((notification) => notification.channel === channel);
      const isFull = due.length === free[channel];
      for (const notification of due) {
        const sending = slots[channel](() => send(notification)).finally(() => {
          inFlight[channel].delete(sending);
          if (isFull && inFlight[channel].size <= places[channel] / 2) rounds.wake();
        });
        inFlight[channel].add(sending);
      }
    }
    return claimed.length > 0;
  };

  const rounds = startRounds({
    round: async () => ((await pump()) ? LOOK_AGAIN_MS : LOOK_EVERY_MS),
    retryMs: LOOK_EVERY_MS,
    logger,
    failed: 'Notifications that are due cannot be read',
    recovered: 'Notifications that are due can be read again',
  });
  return {
    wake: rounds.wake,
    async stop() {
      await rounds.stop();
      await Promise.all(Object.values(inFlight).flatMap((sending) => [...sending]));
    },
  };
}

import type { Channel, QuietHours } from './notifications.ts';

const MINUTE_MS = 60_000;
/** By no more have clocks been turned back at once since 1970. */
const LONGEST_STEP_BACK = 3 * 60;

/** What cannot wait for the morning. */
const URGENT = new Set(['payment-failed']);

/** Whether a message has to wait for the end of quiet hours: what makes a phone ring, and is not urgent. */
export const respectsQuietHours = (channel: Channel, template: string): boolean =>
  channel !== 'email' && !URGENT.has(template);

/**
 * When the quiet hours in which `now` falls end; undefined outside of them. They are told by the clocks of their time
 * zone, also on the days on which those are changed: an end that is skipped comes when the clocks have jumped over it.
 * Quiet hours that end when they begin last all day but for that minute.
 */
export function quietUntil(now: Date, { start, end, timeZone }: QuietHours): Date | undefined {
  const today = clockIn(timeZone, now);
  const [begins, ends, minute] = [minutesOf(start), minutesOf(end), today.minute];
  const isQuiet = begins < ends ? minute >= begins && minute < ends : minute >= begins || minute < ends;
  if (!isQuiet || (begins === ends && minute === ends)) return undefined;
  const daysLater = minute < ends ? 0 : 1;
  return nextTime(now, timeZone, today.day + daysLater, ends);
}

/** The first whole minute after `now` at which the clocks show this day and minute, or have jumped over it. */
function nextTime(now: Date, timeZone: string, day: number, minute: number): Date {
  const isBefore = (at: number): boolean => {
    const clock = clockIn(timeZone, new Date(at));
    return clock.day < day || (clock.day === day && clock.minute < minute);
  };
  let before = Math.floor(now.getTime() / MINUTE_MS);
  let after = before + 50 * 60;
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (isBefore(middle * MINUTE_MS)) before = middle;
    else after = middle;
  }
  // Where the clocks are turned back they show it twice, and either is found: the first is meant.
  let first = Math.max(before + 1 - LONGEST_STEP_BACK, Math.floor(now.getTime() / MINUTE_MS) + 1);
  while (first < after && isBefore(first * MINUTE_MS)) first += 1;
  return new Date(first * MINUTE_MS);
}

const minutesOf = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));

const formats = new Map<string, Intl.DateTimeFormat>();

/** What the clocks of a time zone show: the day, counted from 1970, and the minute of the day. */
function clockIn(timeZone: string, at: Date): { day: number; minute: number } {
  let format = formats.get(timeZone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'gregory',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
    });
    formats.set(timeZone, format);
  }
  const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  const day = Date.UTC(parts.year!, parts.month! - 1, parts.day) / 86_400_000;
  return { day, minute: parts.hour! * 60 + parts.minute! };
}

/** Whether there is a time zone of this name. */
export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

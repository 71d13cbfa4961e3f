import { describe, expect, test } from 'vitest';
import { isTimeZone, quietUntil, respectsQuietHours } from '../domain/quiet-hours.ts';

const NIGHT = { start: '22:00', end: '07:00' };

describe('quiet hours end', () => {
  const cases: [string, string, { start: string; end: string }, string, string | undefined][] = [
    ['before them, not at all', '2026-01-10T20:59:00Z', NIGHT, 'Europe/Berlin', undefined],
    ['in the evening, next morning', '2026-01-10T21:00:00Z', NIGHT, 'Europe/Berlin', '2026-01-11T06:00:00Z'],
    ['in the night, this morning', '2026-01-11T05:59:59Z', NIGHT, 'Europe/Berlin', '2026-01-11T06:00:00Z'],
    ['at their end, at once', '2026-01-11T06:00:00Z', NIGHT, 'Europe/Berlin', undefined],
    ['over new year', '2025-12-31T23:30:00Z', NIGHT, 'UTC', '2026-01-01T07:00:00Z'],
    ['by day', '2026-01-10T12:30:00Z', { start: '12:00', end: '14:00' }, 'UTC', '2026-01-10T14:00:00Z'],
    ['after a day, where they last all day', '2026-01-10T12:30:00Z', { start: '09:00', end: '09:00' }, 'UTC', '2026-01-11T09:00:00Z'],
    ['at quarters of an hour', '2026-01-10T20:00:00Z', NIGHT, 'Asia/Kathmandu', '2026-01-11T01:15:00Z'],
    ['beyond the date line', '2026-01-10T10:30:00Z', NIGHT, 'Pacific/Kiritimati', '2026-01-10T17:00:00Z'],
    // Berlin: the clocks go from 2:00 to 3:00 on 29 March 2026, and from 3:00 back to 2:00 on 25 October.
    ['an hour sooner in the night to summer time', '2026-03-28T22:00:00Z', NIGHT, 'Europe/Berlin', '2026-03-29T05:00:00Z'],
    ['an hour later in the night to winter time', '2026-10-24T21:00:00Z', NIGHT, 'Europe/Berlin', '2026-10-25T06:00:00Z'],
    ['the first time that the clocks show their end, from the evening', '2026-10-24T20:00:00Z', { start: '22:00', end: '02:30' }, 'Europe/Berlin', '2026-10-25T00:30:00Z'],
    ['the first time, from midnight', '2026-10-24T22:00:00Z', { start: '22:00', end: '02:30' }, 'Europe/Berlin', '2026-10-25T00:30:00Z'],
    ['the first time, in New York', '2026-11-01T03:00:00Z', { start: '21:00', end: '01:30' }, 'America/New_York', '2026-11-01T05:30:00Z'],
    ['the second time, in the hour that comes twice', '2026-10-25T01:10:00Z', { start: '22:00', end: '02:30' }, 'Europe/Berlin', '2026-10-25T01:30:00Z'],
    ['when the clocks jump over their end', '2026-03-28T23:30:00Z', { start: '00:00', end: '02:30' }, 'Europe/Berlin', '2026-03-29T01:00:00Z'],
  ]; // prettier-ignore
  test.each(cases)('%s', (_name, now, hours, timeZone, end) => {
    const until = quietUntil(new Date(now), { ...hours, timeZone });
    expect(until).toEqual(end === undefined ? undefined : new Date(end));
    if (until) expect(quietUntil(until, { ...hours, timeZone })).toBeUndefined();
  });
});

test('a mail does not ring, and what is urgent does not wait', () => {
  expect(respectsQuietHours('email', 'order-shipped')).toBe(false);
  expect(respectsQuietHours('push', 'order-shipped')).toBe(true);
  expect(respectsQuietHours('sms', 'order-shipped')).toBe(true);
  expect(respectsQuietHours('push', 'payment-failed')).toBe(false);
});

test('a time zone has a name that the world knows', () => {
  for (const name of ['UTC', 'Europe/Berlin', 'America/New_York']) expect(isTimeZone(name)).toBe(true);
  for (const name of ['', 'Berlin', 'Europe/Atlantis', 'Mars/Olympus', 'x\0y'])
    expect(isTimeZone(name)).toBe(false);
});

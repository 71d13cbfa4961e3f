import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** What the mock SMS gateway sent (SmsBooks), in Postgres. */
export const mockSmsBooks = (db: Db) => ({
  async keep({ id, to, text }: { id: string; to: string; text: string }): Promise<void> {
    await sql`
      insert into mock_company.sms_messages (id, recipient, body) values (${id}::uuid, ${to}, ${text})
      on conflict do nothing
    `.execute(db);
  },
});

/** What the mock push service sent (PushBooks), in Postgres. */
export const mockPushBooks = (db: Db) => ({
  async keep({
    id,
    to,
    title,
    text,
  }: {
    id: string;
    to: string;
    title: string;
    text: string;
  }): Promise<void> {
    await sql`
      insert into messaging.push_messages (id, recipient, title, body) values (${id}::uuid, ${to}, ${title}, ${text})
      on conflict do nothing
    `.execute(db);
  },
});

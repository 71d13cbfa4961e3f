import { type RawBuilder, sql } from 'kysely';
import type { Db } from './connect.ts';

type Answer = 'done' | 'authorization_expired' | 'not_possible';

interface Intent {
  paymentId: string;
  amount: number;
  currency: string;
  token: string;
  status: 'authorized' | 'processing' | 'declined';
  multicapture: boolean;
  expires: boolean;
}

interface Movement {
  key: string;
  paymentId: string;
}

/** The books of the mock payment company (PaymentBooks), in Postgres. */
export const mockPaymentBooks = (db: Db) => ({
  enter: (intent: Intent) => enterIntent(db, intent),

  capture: ({ final, ...movement }: Movement & { amount: number; final: boolean }) =>
    move(db, 'capture', movement, {
      answer: sql`case
        when intent.status in ('authorized', 'expired') and intent.expires then 'authorization_expired'
        when intent.status <> 'authorized' or intent.captured + ${movement.amount} > intent.amount then 'not_possible'
        else 'done'
      end`,
      change: sql`
        captured = intent.captured + case movement.answer when 'done' then movement.amount else 0 end,
        status = case
          when movement.answer = 'authorization_expired' then 'expired'
          when ${final} or not intent.multicapture or intent.captured + movement.amount = intent.amount then 'captured'
          else intent.status
        end`,
    }),

  void: (movement: Movement) =>
    move(
      db,
      'void',
      { ...movement, amount: 0 },
      {
        answer: sql`'done'`,
        change: sql`status = case
          when intent.status not in ('processing', 'authorized') then intent.status
          when intent.captured > 0 then 'captured'
          else 'voided'
        end`,
      },
    ),

  refund: (movement: Movement & { amount: number }) =>
    move(db, 'refund', movement, {
      answer: sql`case
        when intent.refunded + ${movement.amount} > intent.captured then 'not_possible'
        else 'done'
      end`,
      change: sql`refunded = intent.refunded + movement.amount`,
    }),

  async decide(paymentId: string, status: 'authorized' | 'failed') {
    const { rows } = await sql<{ multicapture: boolean }>`
      with decided as (
        update mock_company.payment_intents
        set status = ${status}
        where id = ${paymentId}::uuid
          and (status = 'processing' or (status = 'failed' and ${status} = 'authorized'))
      )
      select multicapture from mock_company.payment_intents where id = ${paymentId}::uuid
    `.execute(db);
    return rows[0];
  },

  async listOpen(since: Date, limit: number) {
    const { rows } = await sql<{ id: string }>`
      select id
      from mock_company.payment_intents
      where created_at >= ${since} and status in ('authorized', 'processing')
      order by created_at
      limit ${limit}
    `.execute(db);
    return rows.map(({ id }) => id);
  },
});

async function enterIntent(
  db: Db,
  { paymentId, amount, currency, token, status, multicapture, expires }: Intent,
): Promise<{ same: boolean; calls: number; ageMs: number }> {
  const { rows } = await sql<{ same: boolean; calls: number; ageMs: number }>`
    insert into mock_company.payment_intents as kept (id, amount, currency, token, status, multicapture, expires)
    values (${paymentId}::uuid, ${amount}::bigint, ${currency}, ${token}, ${status}, ${multicapture}, ${expires})
    on conflict (id) do update set calls = kept.calls + 1
    returning (amount, currency, token) = (${amount}::bigint, ${currency}, ${token}) as same, calls,
      (extract(epoch from clock_timestamp() - created_at) * 1000)::float8 as "ageMs"
  `.execute(db);
  return rows[0]!;
}

/**
 * Makes a movement on an intent in one statement: locks the intent, judges by what the lock returned, keeps the answer
 * under the movement's key, and changes the intent unless it is not possible. The second time for a key it tells the
 * first answer, `not_possible` where the key was another movement's.
 */
async function move(
  db: Db,
  type: 'capture' | 'void' | 'refund',
  { key, paymentId, amount }: Movement & { amount: number },
  { answer, change }: { answer: RawBuilder<unknown>; change: RawBuilder<unknown> },
): Promise<Answer> {
  const { rows } = await sql<{ answer: Answer }>`
    with intent as (
      select * from mock_company.payment_intents where id = ${paymentId}::uuid for update
    ),
    movement as (
      insert into mock_company.payment_movements (key, intent_id, type, amount, answer)
      select ${key}::uuid, intent.id, ${type}, ${amount}::bigint, ${answer} from intent
      on conflict (key) do nothing
      returning amount, answer
    ),
    changed as (
      update mock_company.payment_intents
      set ${change}
      from intent, movement
      where payment_intents.id = intent.id and movement.answer <> 'not_possible'
    )
    select answer from movement
  `.execute(db);
  if (rows[0]) return rows[0].answer;
  const known = await sql<{ answer: Answer }>`
    select answer
    from mock_company.payment_movements
    where key = ${key}::uuid and intent_id = ${paymentId}::uuid and type = ${type} and amount = ${amount}::bigint
  `.execute(db);
  return known.rows[0]?.answer ?? 'not_possible';
}

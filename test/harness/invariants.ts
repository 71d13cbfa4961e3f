import { sql } from 'kysely';
import { expect } from 'vitest';
import type { Db } from '../../db/connect.ts';

/**
 * What must be true of the stock at any time: it is never negative, what is reserved is what the lines of orders hold,
 * lines hold what is neither cancelled nor shipped, and both counters can be rebuilt from the ledger.
 */
export async function expectStockAddsUp(db: Db): Promise<void> {
  const { rows } = await sql`
    with held as (
      select sku, sum(reserved_quantity) as units from ordering.order_lines group by sku
    ),
    ledger as (
      select sku,
        sum(case when type in ('adjustment', 'return') then quantity when type = 'shipment' then -quantity
          else 0 end) as on_hand,
        sum(case when type = 'reservation' then quantity when type in ('release', 'shipment') then -quantity
          else 0 end) as reserved,
        bool_or(type = 'adjustment') as started
      from inventory.movements group by sku
    )
    select stock.sku, stock.on_hand, stock.reserved, held.units as held, ledger.reserved as ledger_reserved
    from inventory.stock
    left join held on held.sku = stock.sku
    left join ledger on ledger.sku = stock.sku
    where stock.reserved < 0 or stock.reserved > stock.on_hand
      or stock.reserved <> coalesce(held.units, 0)
      or stock.reserved <> coalesce(ledger.reserved, 0)
      or (ledger.started and stock.on_hand <> ledger.on_hand)
  `.execute(db);
  expect(rows).toEqual([]);

  const lines = await sql`
    select number, status, sku, quantity, cancelled_quantity, shipped_quantity, returned_quantity, reserved_quantity
    from ordering.order_lines join ordering.orders on orders.id = order_id
    where returned_quantity > shipped_quantity
      or reserved_quantity <> case status
        when 'rejected' then 0 else quantity - cancelled_quantity - shipped_quantity end
  `.execute(db);
  expect(lines.rows).toEqual([]);
}

/**
 * What must be true of the money at any time: none is taken for what was not shipped, none is given back that was not
 * taken, none stays on hold for an order that has ended, and orders, payments and the mock company's books agree.
 */
export async function expectMoneyAddsUp(db: Db): Promise<void> {
  const { rows } = await sql`
    with goods as (
      select order_id as id, sum(unit_price * shipped_quantity) - waived as shipped,
        sum(unit_price * (quantity - cancelled_quantity)) - waived as payable
      from ordering.order_lines
      cross join lateral (
        select coalesce(sum(waived), 0) as waived from ordering.returns where returns.order_id = order_lines.order_id
      ) as returned
      group by order_id, waived
    ),
    money as (
      select orders.id, orders.number, orders.status, payment_status, shipped, payable,
        coalesce(sum(amount) filter (where type = 'capture' and payments.status = 'succeeded'), 0) as captured,
        coalesce(sum(amount) filter (where type = 'capture' and payments.status <> 'failed'), 0) as to_capture,
        coalesce(sum(amount) filter (where type = 'refund' and payments.status = 'succeeded'), 0) as refunded,
        coalesce(sum(amount) filter (where type = 'refund' and payments.status <> 'failed'), 0) as to_refund,
        coalesce(bool_or(payments.status = 'pending'), false) as pending
      from ordering.orders
      join goods on goods.id = orders.id
      left join ordering.payments on payments.order_id = orders.id
      group by orders.id, shipped, payable
    ),
    authorizations as (
      select *, row_number() over (partition by order_id order by ordinal desc) = 1 as latest,
        exists (
          select from ordering.payments as void
          where void.type = 'void' and void.status = 'succeeded' and void.authorization_id = payments.id
        ) as voided
      from ordering.payments where type = 'authorization'
    ),
    told as (
      select money.*, case
          when captured > 0 and refunded >= captured then 'refunded'
          when captured > 0 and refunded > 0 then 'partially_refunded'
          when captured > 0 and captured < payable then 'partially_captured'
          when captured > 0 then 'captured'
          when authorizations.voided then 'voided'
          when authorizations.status = 'succeeded' then 'authorized'
          when authorizations.status = 'failed' then 'failed'
          else 'none'
        end as expected
      from money left join authorizations on order_id = money.id and latest
    )
    select number, status, 'captured more than was shipped' as wrong, captured || ' of ' || shipped as detail
    from money where to_capture > shipped
    union all
    select number, status, 'refunded more than was captured', to_refund || ' of ' || captured
    from money where refunded > captured or to_refund > to_capture or (to_refund > captured and not pending)
    union all
    select number, money.status, 'holds money though it has ended', authorizations.id::text
    from money join authorizations on order_id = money.id
    where money.status in ('cancelled', 'rejected') and not pending
      and authorizations.status = 'succeeded' and not voided
    union all
    select number, status, 'not all that was delivered is captured', captured || ' of ' || shipped
    from money
    where status = 'delivered' and not pending and captured <> shipped and payment_status not in ('none', 'failed')
    union all
    select money.number, money.status, 'a hold that nobody needs is left', intent.id::text
    from money join ordering.payments on order_id = money.id and type = 'authorization'
    join mock_company.payment_intents as intent on intent.id = payments.id
    where money.status in ('delivered', 'cancelled', 'rejected') and not pending and intent.status = 'authorized'
    union all
    select number, status, 'payment status', payment_status || ', not ' || expected
    from told where payment_status <> expected
  `.execute(db);
  expect(rows).toEqual([]);
  await expectBooksAgree(db);
}

/** What the mock payment company has in its books is what the payments say, but for those that are under way. */
async function expectBooksAgree(db: Db): Promise<void> {
  const { rows } = await sql`
    with ours as (
      select * from ordering.payments where provider = 'mock'
    ),
    taken as (
      select intent_id, coalesce(sum(amount) filter (where type = 'capture'), 0) as captured,
        coalesce(sum(amount) filter (where type = 'refund'), 0) as refunded
      from mock_company.payment_movements where answer = 'done' group by intent_id
    ),
    wrong as (
      select ours.id, ours.type, ours.status, 'intent ' || coalesce(intent.status, 'missing') as theirs
      from ours left join mock_company.payment_intents as intent on intent.id = ours.id
      where ours.type = 'authorization' and case ours.status
        when 'succeeded' then intent.id is null
          or intent.status not in ('authorized', 'captured', 'voided', 'expired')
          or intent.amount <> ours.amount or intent.currency <> ours.currency
        when 'failed' then intent.status not in ('declined', 'failed', 'voided')
        else false
      end
      union all
      select ours.id, ours.type, ours.status, 'answered ' || coalesce(movement.answer, 'nothing')
      from ours left join mock_company.payment_movements as movement on movement.key = ours.id
      where ours.type <> 'authorization' and case ours.status
        when 'succeeded' then movement.answer is distinct from 'done' or movement.type <> ours.type
          or movement.intent_id <> ours.authorization_id
          or (ours.type <> 'void' and movement.amount <> ours.amount)
        when 'failed' then movement.answer = 'done'
        else false
      end
      union all
      select movement.key, movement.type, 'not ours', movement.answer
      from mock_company.payment_movements as movement left join ours on ours.id = movement.key
      where ours.id is null
      union all
      select intent.id, 'authorization', 'not ours', intent.status
      from mock_company.payment_intents as intent left join ours on ours.id = intent.id
      where ours.id is null
      union all
      select intent.id, 'authorization', intent.status, 'captured ' || intent.captured || ', refunded ' || intent.refunded
      from mock_company.payment_intents as intent left join taken on taken.intent_id = intent.id
      where intent.captured <> coalesce(taken.captured, 0) or intent.refunded <> coalesce(taken.refunded, 0)
      union all
      select intent.id, 'void', void.status, intent.status
      from ours as void join mock_company.payment_intents as intent on intent.id = void.authorization_id
      where void.type = 'void' and void.status = 'succeeded' and intent.status in ('authorized', 'processing')
    )
    select * from wrong
  `.execute(db);
  expect(rows).toEqual([]);
}

/** What the database does not check itself: every event is of an order, and none is missing before the last. */
export async function expectEventsOfOrders(db: Db): Promise<void> {
  const { rows } = await sql`
    select order_id, max(seq) as last, count(*) as events, last_event_seq
    from ordering.order_events left join ordering.orders on orders.id = order_id
    group by order_id, last_event_seq
    having last_event_seq is null or max(seq) <> last_event_seq or count(*) <> last_event_seq
  `.execute(db);
  expect(rows).toEqual([]);
}

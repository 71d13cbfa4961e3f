-- An event is only ever written by the statement that writes or has locked its order, and orders are not deleted. Checking
-- each event again was a tenth of what placing an order costs while it holds the lock on its stock
alter table ordering.order_events drop constraint order_events_order_id_fkey;

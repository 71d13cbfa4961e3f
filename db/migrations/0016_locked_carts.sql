-- The upkeep unlocks carts whose customers do not come back: it walks the locked ones only, the oldest lock first.
create index carts_locked on shopping.carts (locked_at) where order_id is not null;

-- A message to a customer that is about no order is a recorded event by itself, at this place among those of orders
-- (0010_events.sql). Null before it was sent, for what is about an order, and for what goes to nobody who is known
alter table messaging.notifications
  add column sent_xid xid8,
  add column sent_position bigint,
  add constraint sent_place_is_whole check ((sent_xid is null) = (sent_position is null));
create index notifications_recorded on messaging.notifications (sent_xid, sent_position) where sent_position is not null;

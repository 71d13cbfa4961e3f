-- A delivery whose endpoint is busy with others waits in line: nobody asks for it before a place is free
alter table messaging.webhook_deliveries add column in_line boolean not null default false;
create index webhook_deliveries_in_line on messaging.webhook_deliveries (endpoint_id, created_at, id) where in_line;

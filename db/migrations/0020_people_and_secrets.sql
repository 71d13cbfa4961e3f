-- Who is behind a phone number.
create index preferences_of_phone on messaging.preferences (phone) where phone is not null;

-- A secret that was replaced signs for a day, also where the next one is replaced within it.
alter table messaging.webhook_endpoints add column older_secrets jsonb not null default '[]';

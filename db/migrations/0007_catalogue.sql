-- The catalogue: searched by its words. pg_trgm comes with Postgres (contrib) and is trusted: the owner of a database
-- may create it.
create extension if not exists pg_trgm;

-- text with a space for every ASCII character that is neither a letter nor a digit: the words of KEYBOARD-MX are
-- keyboard and mx
create function catalogue.spaced(value text) returns text
  language sql immutable strict parallel safe
  return regexp_replace(value, '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+', ' ', 'g');

alter table catalogue.products add column search tsvector not null generated always as (
  setweight(to_tsvector('simple'::regconfig, catalogue.spaced(name || ' ' || sku)), 'A')
  || setweight(to_tsvector('simple'::regconfig, catalogue.spaced(category)), 'B')
  || setweight(to_tsvector('simple'::regconfig, catalogue.spaced(description)), 'C')
) stored;
create index products_search on catalogue.products using gin (search) with (fastupdate = off) where active;

create index products_by_newest on catalogue.products (created_at desc, sku) where active;
create index products_of_category_by_newest on catalogue.products (category, created_at desc, sku) where active;

-- every word that products have, to correct the spelling of a search with. A word stays when its last product goes
create table catalogue.words (word text collate "C" primary key);
create index words_similar on catalogue.words using gist (word gist_trgm_ops (siglen = 64));

create function catalogue.learn_words() returns trigger language plpgsql as $$
begin
  insert into catalogue.words (word)
  select distinct word from changed cross join unnest(tsvector_to_array(search)) as found (word)
  where word ~ '^[[:alpha:]]{4,40}$' and not exists (select from catalogue.words where words.word = found.word)
  order by word
  on conflict do nothing;
  return null;
end $$;
create trigger products_learn_words_of_new after insert on catalogue.products
  referencing new table as changed for each statement execute function catalogue.learn_words();
create trigger products_learn_words_of_changed after update on catalogue.products
  referencing new table as changed for each statement execute function catalogue.learn_words();
insert into catalogue.words (word)
select distinct word from catalogue.products cross join unnest(tsvector_to_array(search)) as found (word)
where word ~ '^[[:alpha:]]{4,40}$';

-- inventory: the stock manager hears of each crossing once, in the transaction that crosses. The conditions are of the
-- triggers, so that a change that crosses nothing costs nothing

-- who that is: written by each process when it starts; one row at the most
create table inventory.stock_manager (
  only_one boolean primary key default true check (only_one),
  email text not null
);

create function inventory.tell_stock_manager() returns trigger language plpgsql as $$
begin
  insert into messaging.notifications (id, channel, recipient, template, variables, event_type)
  select gen_random_uuid(), 'email', email, tg_argv[0], jsonb_build_object(
      'sku', new.sku,
      'name', coalesce((select name from catalogue.products where sku = new.sku), new.sku),
      'available', new.on_hand - new.reserved,
      'threshold', new.low_stock_threshold
    ), tg_argv[1]
  from inventory.stock_manager;
  return null;
end $$;
create trigger stock_runs_low after update on inventory.stock for each row
  when (old.on_hand - old.reserved > old.low_stock_threshold and new.on_hand - new.reserved <= new.low_stock_threshold
    and new.low_stock_threshold > 0)
  execute function inventory.tell_stock_manager('low-stock', 'stock.low');
-- stock that is only being made, at version 0, was never away
create trigger stock_comes_back after update on inventory.stock for each row
  when (old.on_hand = old.reserved and new.on_hand > new.reserved and old.version > 0)
  execute function inventory.tell_stock_manager('back-in-stock', 'stock.back');

-- the ledger is append-only, also for those who can write SQL
create function inventory.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'The ledger % is append-only.', tg_relid::regclass;
end $$;
create trigger movements_append_only before update or delete or truncate on inventory.movements
  for each statement execute function inventory.refuse_change();

-- importing: files of products or stock. A file is there when all of it is; what came of one that broke off belongs to no
-- import and goes

create schema importing;

create table importing.chunks (
  upload_id uuid not null,
  number integer not null,
  content bytea not null,
  created_at timestamptz(3) not null default now(),
  primary key (upload_id, number)
);
create index chunks_first on importing.chunks (created_at) where number = 0;

create table importing.imports (
  id uuid primary key,
  upload_id uuid not null unique,
  type text not null check (type in ('products', 'inventory')),
  format text not null check (format in ('csv', 'ndjson')),
  status text not null default 'running' check (status in ('running', 'completed', 'failed')),
  -- rows that were dealt with, the failed ones too: written in the transaction of what they change
  processed integer not null default 0,
  failed integer not null default 0,
  errors jsonb not null default '[]',
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now()
);
create index imports_running on importing.imports (updated_at) where status = 'running';

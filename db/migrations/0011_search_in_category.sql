-- Words and a category are looked up in one index. btree_gin comes with Postgres (contrib) and is trusted, as pg_trgm is.
create extension if not exists btree_gin;

drop index catalogue.products_search;
create index products_search on catalogue.products using gin (search, category) with (fastupdate = off) where active;

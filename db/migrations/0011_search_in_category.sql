-- Words and a category are looked up in one index. btree_gin comes with Postgres (contrib) and is trusted, as pg_trgm is.
create extension if not exists btree_gin;

-- the old one goes last: products can be read until then
create index products_search_in_category on catalogue.products using gin (search, category)
  with (fastupdate = off) where active;
drop index catalogue.products_search;
alter index catalogue.products_search_in_category rename to products_search;

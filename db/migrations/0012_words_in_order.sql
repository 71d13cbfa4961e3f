-- Which products on sale have a word, by sku: the index of words finds them in no order. Only the triggers write it, with
-- what they follow, so it has no foreign key
create table catalogue.product_words (
  word text collate "C",
  sku text collate "C",
  primary key (word, sku)
);

create function catalogue.list_words_of_new() returns trigger language plpgsql as $$
begin
  insert into catalogue.product_words (word, sku)
  select word, sku from added cross join unnest(tsvector_to_array(search)) as has (word) where active
  order by word, sku;
  return null;
end $$;
create trigger products_list_words_of_new after insert on catalogue.products
  referencing new table as added for each statement execute function catalogue.list_words_of_new();

create function catalogue.list_words_of_changed() returns trigger language plpgsql as $$
begin
  with lost as (
    select sku, unnest(tsvector_to_array(before.search)) as word from before join after using (sku)
    where before.active and (before.search <> after.search or not after.active)
    except
    select sku, unnest(tsvector_to_array(after.search)) from before join after using (sku)
    where after.active and before.search <> after.search
  )
  delete from catalogue.product_words using lost
  where product_words.word = lost.word and product_words.sku = lost.sku;

  insert into catalogue.product_words (word, sku)
  select unnest(tsvector_to_array(after.search)) as word, sku from before join after using (sku)
  where after.active and (before.search <> after.search or not before.active)
  except
  select unnest(tsvector_to_array(before.search)), sku from before join after using (sku)
  where before.active and before.search <> after.search
  order by word, sku;
  return null;
end $$;
create trigger products_list_words_of_changed after update on catalogue.products
  referencing old table as before new table as after for each statement
  execute function catalogue.list_words_of_changed();

create function catalogue.list_no_words_of_deleted() returns trigger language plpgsql as $$
begin
  delete from catalogue.product_words using deleted where product_words.sku = deleted.sku
    and product_words.word = any (tsvector_to_array(deleted.search));
  return null;
end $$;
create trigger products_list_no_words_of_deleted after delete on catalogue.products
  referencing old table as deleted for each statement execute function catalogue.list_no_words_of_deleted();

insert into catalogue.product_words (word, sku)
select word, sku from catalogue.products cross join unnest(tsvector_to_array(search)) as has (word) where active
order by word, sku;

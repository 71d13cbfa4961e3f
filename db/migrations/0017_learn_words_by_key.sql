-- Whether a word is known was looked up in the index of similar words, which Postgres takes to be as good as the key, and
-- which takes many times as long: so long that a few products with much text could take more than a statement may
create or replace function catalogue.learn_words() returns trigger language plpgsql as $$
begin
  insert into catalogue.words (word)
  select distinct word from changed cross join unnest(tsvector_to_array(search)) as found (word)
  where word ~ '^[[:alpha:]]{4,40}$'
  order by word
  on conflict do nothing;
  return null;
end $$;

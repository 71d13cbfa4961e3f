-- Lists walk an index, newest first, whatever the statistics say: for each way to list there is one index in that order,
-- and no second one that the planner could take for it. db/order-lists.ts reads by these.

-- a list by sku: the lines of the sku in the order of their orders. A line keeps the time of its order, which is fixed
alter table ordering.order_lines add column created_at timestamptz(3);
update ordering.order_lines set created_at = orders.created_at from ordering.orders where orders.id = order_id;
alter table ordering.order_lines alter column created_at set not null;
drop index ordering.order_lines_sku;
create index order_lines_of_sku on ordering.order_lines (sku, created_at desc, order_id desc);

-- a list by customer walks orders_of_customer, one by status orders_in_status; one of all orders walks the latter once
-- for each status and merges, so this one only made placing and every step dearer
drop index ordering.orders_newest;

-- the ledger of a sku is the only way to read movements: one index is enough
alter table inventory.movements drop constraint movements_pkey;
drop index inventory.movements_sku;
alter table inventory.movements add primary key (sku, id);

-- the start of a customer's name or email, in whatever case
create index users_name_start on identity.users (lower(name) collate "C", id);
create index users_email_start on identity.users (lower(email) collate "C", id);

-- the products on sale, in each order, all or of a category
drop index catalogue.products_category;
drop index catalogue.products_price;
create index products_by_sku on catalogue.products (sku) where active;
create index products_by_name on catalogue.products (name, sku) where active;
create index products_by_price on catalogue.products (price, sku) where active;
create index products_of_category_by_sku on catalogue.products (category, sku) where active;
create index products_of_category_by_name on catalogue.products (category, name, sku) where active;
create index products_of_category_by_price on catalogue.products (category, price, sku) where active;
create index products_by_price_down on catalogue.products (price desc, sku) where active;
create index products_of_category_by_price_down on catalogue.products (category, price desc, sku) where active;

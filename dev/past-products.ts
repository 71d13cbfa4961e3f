import { Client } from 'pg';

/**
 * Fills the catalogue with products number 0 to `count` (exclusive) of 50 categories, for benchmarks of a large one: `ITEM-0`
 * and so on, each named by a colour, a material and a thing, of which the first name more products than the last. Returns
 * when the planner knows of it all.
 */
export async function addProducts(databaseUrl: string, count: number): Promise<void> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query('set synchronous_commit = off');
    for (let from = 0; from < count; from += BATCH) {
      await client.query(PRODUCTS, [COLOURS, MATERIALS, THINGS, from, Math.min(from + BATCH, count)]);
    }
    await client.query('vacuum (analyze) catalogue.products');
    await client.query('vacuum (analyze) catalogue.words');
    await client.query('vacuum (analyze) catalogue.product_words');
  } finally {
    await client.end();
  }
}

const BATCH = 10_000;

export const COLOURS =
  'amber azure beige black blue bronze brown coral crimson cyan golden green grey indigo ivory lavender lilac magenta maroon mint navy olive orange pink purple red rose ruby sand scarlet silver teal turquoise violet white yellow'.split(
    ' ',
  );
export const MATERIALS =
  'acrylic aluminium bamboo birch brass canvas cashmere cedar ceramic cherry copper cork cotton crystal denim felt fleece glass granite hemp iron jute leather linen maple marble mesh nylon oak paper pewter pine plastic porcelain rattan rubber satin silk slate steel stone suede teak titanium velvet walnut wicker willow wool zinc'.split(
    ' ',
  );
export const THINGS =
  'chair armchair backpack basket bench blanket bookcase bottle bowl bracelet briefcase broom bucket cabinet candle carpet clock coaster couch cradle cupboard curtain cushion desk drawer dresser earring easel fan fork frame glove guitar hammer hammock handbag hanger helmet jacket jar jug kettle keyring knife ladder lamp lantern locker mattress mirror mug napkin necklace notebook ornament ottoman oven pan pendant pillow pitcher plate platter pot purse quilt rack recliner ring rug saddle sandal scarf shelf shoe sideboard sink slipper sofa spoon stool suitcase table tablecloth tankard teapot toaster towel tray trolley trunk umbrella vase wallet wardrobe watch whisk wreath zither'.split(
    ' ',
  );

const PRODUCTS = `
  insert into catalogue.products (sku, name, description, category, price, currency, created_at)
  select 'ITEM-' || number,
    initcap(($1::text[])[1 + number % cardinality($1)] || ' ' || ($2::text[])[1 + number / 7 % cardinality($2)] || ' ' || thing),
    'A ' || thing || ' of ' || ($2::text[])[1 + number / 11 % cardinality($2)] || ', model ' || number || ', for every home.',
    'category ' || number % 50, 500 + number * 7919 % 100000, 'USD', now() - number * interval '1 minute'
  from generate_series($4::int, $5::int - 1) as number
  cross join lateral (
    select ($3::text[])[1 + floor(cardinality($3) * power((number * 7907 % 10007) / 10007.0, 2))] as thing
  ) as named
`;

import { addProducts, COLOURS, MATERIALS, THINGS } from '../dev/past-products.ts';
import { paint, say, step } from '../dev/report.ts';
import { describe, figure } from './figures.ts';
import type { Round } from './measure.ts';
import type { Platform } from './platform.ts';
import { startReader } from './reads.ts';

const PRODUCTS = 100_000;
const PATHS = 500;
const plans = {
  full: { rounds: 15, seconds: 2, warmUpSeconds: 4 },
  quick: { rounds: 3, seconds: 1.5, warmUpSeconds: 2 },
};

export interface CatalogueResults {
  products: number;
  /** `GET /v1/products/:sku`, and each kind of search, by turns. */
  rounds: { product: Round; searches: Record<string, Round> }[];
}

const pick = (words: string[], index: number): string => words[index % words.length]!;

/** A slip of the pen: two letters swapped. */
const misspelled = (word: string): string => word[0]! + word[2]! + word[1]! + word.slice(3);

/** What people look for, from the index of the search. */
const SEARCHES: Record<string, (index: number) => string> = {
  'a word': (index) => `q=${pick(THINGS, index)}`,
  'a word, by relevance': (index) => `q=${pick(THINGS, index)}&sort=relevance`,
  'two words': (index) => `q=${pick(COLOURS, index)}+${pick(THINGS, index)}`,
  'the start of a word': (index) => `q=${pick(THINGS, index).slice(0, 3)}`,
  'a misspelled word': (index) => `q=${pick(COLOURS, index)}+${misspelled(pick(THINGS, index))}`,
  'words, by price, of a category': (index) =>
    `q=${pick(MATERIALS, index)}&category=category+${index % 50}&sort=price&maxPrice=50000`,
  'no words, by price': (index) => `category=category+${index % 50}&sort=price`,
};

/**
 * Measures searches of 100,000 products beside reads of one product by its key, each with one client, so that nothing
 * queues for the processor.
 */
export async function measureCatalogue(running: Platform, { quick = false } = {}): Promise<CatalogueResults> {
  const plan = quick ? plans.quick : plans.full;
  await step(
    'Products',
    () => addProducts(running.environment['DATABASE_URL']!, PRODUCTS),
    () => `${PRODUCTS.toLocaleString('en')} in the catalogue`,
  );
  const reader = (paths: string[]) =>
    startReader(running, { url: running.url, token: 'none', paths }, running.pids.API);
  const indexes = Array.from({ length: PATHS }, (_, index) => index);
  const product = await reader(indexes.map((index) => `/v1/products/ITEM-${index * 199}`));
  const searches = await Promise.all(
    Object.entries(SEARCHES).map(async ([name, queryOf]) => {
      const paths = indexes.map((index) => `/v1/products?${queryOf(index)}`);
      return [name, await reader(paths)] as const;
    }),
  );
  const round = async (seconds: number) => {
    const load = { clients: 1, seconds };
    const timed: Record<string, Round> = {};
    const read = await product.measure(load);
    for (const [name, { measure }] of searches) timed[name] = await measure(load);
    return { product: read, searches: timed };
  };
  try {
    await round(plan.warmUpSeconds / 2);
    const rounds: CatalogueResults['rounds'] = [];
    for (let index = 0; index < plan.rounds; index += 1) rounds.push(await round(plan.seconds / 2));
    return { products: PRODUCTS, rounds };
  } finally {
    await Promise.all([product.stop(), ...searches.map(([, each]) => each.stop())]);
  }
}

/** Prints the figures. */
export function printCatalogue({ products, rounds }: CatalogueResults): void {
  say(`\n${paint.bold(`Searches of ${products.toLocaleString('en')} products, one client: p95`)}`);
  const line = (name: string, p95: number[]): void => say(`  ${describe(figure(name, 'ms', 2, p95))}`);
  line(
    'GET /v1/products/:sku',
    rounds.map(({ product }) => product.p95),
  );
  for (const name of Object.keys(SEARCHES)) {
    line(
      name,
      rounds.map(({ searches }) => searches[name]!.p95),
    );
  }
}

/** For each kind of search how much longer it takes than reading a product. */
export const catalogueRatios = ({ rounds }: CatalogueResults) =>
  Object.keys(SEARCHES).map((name) =>
    figure(
      `search ${name}, p95/read`,
      '',
      2,
      rounds.map(({ product, searches }) => searches[name]!.p95 / product.p95),
    ),
  );

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeWorkflowBundle } from '../workers/bundle.ts';
import { buildProduct, root } from './harness/product.ts';
import { startStack } from './harness/stack.ts';
import { MOCK_WEBHOOK_SECRET } from './model/client.ts';
import { CONTENDED } from './model/model.ts';
import { playSequences, putOnSale } from './model/run.ts';

/** A bug as it is sown: `find` in `file` becomes `replace`. What the model says of it then matches `seen`. */
interface Bug {
  bug: string;
  file: string;
  find: string;
  replace: string;
  seen: string;
}

const SEQUENCES = 80;
const PRODUCT = [
  'activities',
  'api',
  'client',
  'config',
  'db',
  'domain',
  'providers',
  'workers',
  'workflows',
];

const folder = join(import.meta.dirname, 'model/bugs');
/** Each with a seed of its own, because the same seed would make the same orders. */
const bugs = readdirSync(folder).map((name, seed) => {
  return { ...(JSON.parse(readFileSync(join(folder, name), 'utf8')) as Bug), seed };
});

/** A copy of the product, in which the bugs are sown and mended again. */
let copy: string;
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'holdfast-bugs-'));
  for (const part of PRODUCT) cpSync(join(root, part), join(copy, part), { recursive: true });
  for (const file of ['package.json', 'tsconfig.json', 'tsconfig.build.json'])
    cpSync(join(root, file), join(copy, file));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
});
afterAll(() => {
  rmSync(copy, { recursive: true, force: true });
});

test.each(bugs)(
  'the model sees it: $bug',
  { timeout: 300_000 },
  async ({ file, find, replace, seen, seed }) => {
    const path = join(copy, file);
    const right = readFileSync(path, 'utf8');
    expect(right.split(find), `the place in ${file} for the bug`).toHaveLength(2);
    writeFileSync(
      path,
      right.replace(find, () => replace),
    );
    const product = join(copy, 'built');
    await buildProduct(product, copy);
    const bundle = join(product, 'workflow-bundle.js');
    await writeWorkflowBundle(bundle, join(product, 'workflows/index.js'));
    const stack = await startStack({
      product,
      environment: {
        WORKFLOW_BUNDLE: bundle,
        MOCK_WEBHOOK_SECRET,
        RECONCILE_INTERVAL_SECONDS: '86400',
      },
    });
    try {
      await putOnSale(stack, CONTENDED, 100, 1000);
      const played = playSequences({ stack, seed, patience: 30 }, 6, (count) => count < SEQUENCES);
      await expect(played).rejects.toThrow(
        new RegExp(`^What is there is not what the model says: .*${seen}`),
      );
    } finally {
      await stack.stop();
      writeFileSync(path, right);
    }
  },
);

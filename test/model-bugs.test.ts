import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { writeWorkflowBundle } from '../workers/bundle.ts';
import { startStack } from './harness/stack.ts';
import { MOCK_WEBHOOK_SECRET } from './model/client.ts';
import { CONTENDED } from './model/model.ts';
import { playSequence, putOnSale } from './model/run.ts';

/**
 * A bug as it is sown: `find` in `file` of the compiled product becomes `replace`. The model's sequence number `sequence`
 * of `seed` runs into it (where the model's commands have changed: play others until one does), and what the model says
 * of it matches `seen`.
 */
interface Bug {
  bug: string;
  file: string;
  find: string;
  replace: string;
  seed: number;
  sequence: number;
  seen: string;
}

const folder = join(import.meta.dirname, 'model/bugs');
const bugs = readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Bug);

/** A copy of the compiled product, in which a bug is sown. */
let product: string;
beforeEach(() => {
  product = mkdtempSync(join(tmpdir(), 'holdfast-bugs-'));
  cpSync(inject('parts').product, product, { recursive: true });
});
afterEach(() => {
  rmSync(product, { recursive: true, force: true });
});

test.each(bugs)(
  'the model sees it: $bug',
  { timeout: 300_000 },
  async ({ file, find, replace, seed, sequence, seen }) => {
    const path = join(product, file);
    const right = readFileSync(path, 'utf8');
    expect(right.split(find), `the place in ${file} for the bug`).toHaveLength(2);
    writeFileSync(
      path,
      right.replace(find, () => replace),
    );
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
      await expect(playSequence({ stack, seed, patience: 30 }, sequence)).rejects.toThrow(
        new RegExp(`^What is there is not what the model says: .*${seen}`),
      );
    } finally {
      await stack.stop();
    }
  },
);

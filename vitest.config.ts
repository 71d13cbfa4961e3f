import { basename } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** They begin first, also where no earlier run has told that they are slow: none of them is left alone at the end. */
const SLOW = ['faults', 'model', 'schemathesis', 'payments', 'model-bugs', 'start'];

class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isSlow = ({ moduleId }: TestSpecification) => SLOW.includes(basename(moduleId, '.test.ts'));
    const sorted = await super.sort(files);
    return [...sorted.filter(isSlow), ...sorted.filter((file) => !isSlow(file))];
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/harness/global-setup.ts',
    sequence: { sequencer: SlowFirst },
    pool: 'forks',
    // Each file has a platform of its own; modules, and what they know of the API's description, are shared.
    isolate: false,
    // More than cores: a third has something to do while two wait for real time to pass.
    maxWorkers: 3,
    testTimeout: 120_000,
    hookTimeout: 90_000,
  },
});

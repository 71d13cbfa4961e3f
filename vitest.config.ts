import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/harness/global-setup.ts',
    pool: 'forks',
    // They wait as long as they work.
    maxWorkers: availableParallelism() + 1,
    testTimeout: 60_000,
    hookTimeout: 90_000,
  },
});

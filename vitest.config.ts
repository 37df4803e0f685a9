import { defineConfig } from 'vitest/config'

/** Projects by what a test needs: nothing, servers, processes to kill, or a browser. The suffix says which. */
const special = ['**/*.servers.test.ts', '**/*.crash.test.ts', '**/*.browser.test.ts', '**/*.e2e.test.ts']
const excluded = ['**/node_modules/**']

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    projects: [
      { extends: true, test: { name: 'unit', include: ['**/*.test.ts'], exclude: [...excluded, ...special] } },
      { extends: true, test: { name: 'e2e', include: ['**/*.e2e.test.ts'], exclude: excluded, fileParallelism: false, testTimeout: 180_000 } },
      { extends: true, test: { name: 'servers', include: ['**/*.servers.test.ts'], exclude: excluded, fileParallelism: false, testTimeout: 180_000, globalSetup: ['topologies/servers/global-setup.ts'] } },
      { extends: true, test: { name: 'crash', include: ['**/*.crash.test.ts'], exclude: excluded, fileParallelism: false, testTimeout: 300_000 } },
      { extends: true, test: { name: 'browser', include: ['**/*.browser.test.ts'], exclude: excluded, fileParallelism: false, testTimeout: 180_000 } },
    ],
  },
})

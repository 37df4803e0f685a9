import type { TestProject } from 'vitest/node'
import { ServerSet } from './server-set.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Shared by all test files: a test that kills, restarts or flushes a server starts one of its own. */
    servers: {
      /** `host:port` */
      readonly kafkaBrokers: string[]
      readonly registryUrl: string
      readonly redisUrl: string
    }
  }
}

/** Real servers for all files of the project `servers`. Returns what ends them. */
export default async function startServers(project: TestProject): Promise<() => Promise<void>> {
  const startedMs = performance.now()
  const servers = await ServerSet.start()
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  process.stdout.write(`Kafka, the schema registry and Redis started in ${seconds} s\n`)
  project.provide('servers', {
    kafkaBrokers: [...servers.kafka.brokers],
    registryUrl: servers.registry.url,
    redisUrl: servers.redis.url,
  })
  return () => servers.stop()
}

import { eventLogContract } from '../contracts/event-log-contract.ts'
import { featureStoreContract } from '../contracts/feature-store-contract.ts'
import { keyValueStoreContract } from '../contracts/key-value-store-contract.ts'
import { workQueueContract } from '../contracts/work-queue-contract.ts'
import { EmbeddedEventLog } from './embedded-event-log.ts'
import { EmbeddedFeatureStore } from './embedded-feature-store.ts'
import { openKeyValueStore } from './embedded-key-value-store.ts'
import { EmbeddedWorkQueue } from './embedded-work-queue.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

const maxRecordBytes = 2 ** 20

eventLogContract('embedded', async () => ({
  maxRecordBytes,
  ...(await fixtureOf(environment => new EmbeddedEventLog(environment, { maxRecordBytes }))),
}))

workQueueContract('embedded', () => fixtureOf(environment => new EmbeddedWorkQueue(environment)))

featureStoreContract('embedded', () => fixtureOf(environment => new EmbeddedFeatureStore(environment)))

keyValueStoreContract('embedded', async () => {
  const temporary = await TemporaryEnvironment.create()
  let environment = await temporary.open()
  const open = new Set<string>()
  return {
    open: async name => {
      if (open.has(name)) environment = await temporary.open()
      open.add(name)
      return openKeyValueStore(environment, name)
    },
    dispose: () => temporary.dispose(),
  }
})

/** Each `open` opens the environment anew, as a restart does. */
async function fixtureOf<T>(create: (environment: EmbeddedEnvironment) => T) {
  const temporary = await TemporaryEnvironment.create()
  return {
    open: async () => create(await temporary.open()),
    elapse: async (ms: number) => {
      temporary.now += ms
    },
    dispose: () => temporary.dispose(),
  }
}

import { eventLogContract } from '../../topologies/contracts/event-log-contract.ts'
import { InMemoryLogStorage } from './in-memory-log.ts'

eventLogContract('in memory', async () => {
  const storage = new InMemoryLogStorage()
  return {
    maxRecordBytes: storage.maxRecordBytes,
    open: async () => storage.open(),
    dispose: async () => undefined,
  }
})

import { inject } from 'vitest'
import { eventLogContract } from '../contracts/event-log-contract.ts'
import { KafkaEventLog } from './kafka-event-log.ts'

const maxRecordBytes = 1_000_000

eventLogContract('kafka', async () => ({
  maxRecordBytes,
  open: async () =>
    new KafkaEventLog({ brokers: inject('servers').kafkaBrokers, clientId: 'contract', maxRecordBytes }),
  dispose: async () => undefined,
}))

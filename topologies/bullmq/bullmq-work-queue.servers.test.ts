import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { inject } from 'vitest'
import { workQueueContract } from '../contracts/work-queue-contract.ts'
import { BullmqWorkQueue } from './bullmq-work-queue.ts'

workQueueContract('BullMQ', async () => {
  const { redisUrl } = inject('servers')
  const queueName = randomUUID()
  return {
    open: async () =>
      new BullmqWorkQueue({ redis: { url: redisUrl }, prefix: 'freshet-test', queueName, leaseCheckMs: 100 }),
    // The server's clock is the system's, so the time has to pass.
    elapse: ms => delay(ms),
    dispose: async () => {},
  }
})

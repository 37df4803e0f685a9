import kafkajs, { type Admin } from 'kafkajs'
import type { Offset, Partition } from '../../../schemas/ids.ts'

/** What an operator of the cluster can do and the product never does. */
export class KafkaOperator {
  readonly #kafka: kafkajs.Kafka

  constructor(brokers: readonly string[]) {
    this.#kafka = new kafkajs.Kafka({ clientId: 'operator', brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING })
  }

  /** How many partitions of the topic each node leads, most first. */
  async leaders(topic: string): Promise<readonly number[]> {
    const { topics } = await this.#use(admin => admin.fetchTopicMetadata({ topics: [topic] }))
    const counts = new Map<number, number>()
    for (const { leader } of topics[0]!.partitions) counts.set(leader, (counts.get(leader) ?? 0) + 1)
    return [...counts].toSorted(([, a], [, b]) => b - a).map(([node]) => node)
  }

  /** Whether each partition of the topic has all of its replicas in sync. */
  async isWhole(topic: string): Promise<boolean> {
    const { topics } = await this.#use(admin => admin.fetchTopicMetadata({ topics: [topic] }))
    return topics[0]!.partitions.every(({ leader, isr, replicas }) => leader >= 0 && isr.length === replicas.length)
  }

  /** The topic's partitions begin there afterwards. Needs a topic whose records may be deleted. */
  async deleteRecordsBelow(topic: string, starts: ReadonlyMap<Partition, Offset>): Promise<void> {
    const partitions = [...starts].map(([partition, offset]) => ({ partition, offset: String(offset) }))
    await this.#use(async admin => {
      // kafkajs looks for the leaders among what it has heard of.
      await admin.fetchTopicOffsets(topic)
      await admin.deleteTopicRecords({ topic, partitions })
    })
  }

  async deleteTopic(topic: string): Promise<void> {
    await this.#use(admin => admin.deleteTopics({ topics: [topic] }))
  }

  async #use<T>(task: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = this.#kafka.admin({ retry: { retries: 20, maxRetryTime: 1_000 } })
    await admin.connect()
    try {
      return await task(admin)
    } finally {
      await admin.disconnect()
    }
  }
}

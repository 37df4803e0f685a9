import { Queue, Worker } from 'bullmq'
import kafkajs, { type Consumer, type Message, type Producer } from 'kafkajs'
import { serveCalls } from '../shard/child-calls.ts'

/** A part of the baseline, in a process of its own. */
export interface BareHopOptions {
  readonly brokers: readonly string[]
  readonly redisUrl: string
  readonly source: string
  readonly target: string
  readonly queueName: string
  /** Bytes of what is produced for each record; those of an embedded item. */
  readonly resultBytes: number
}

/** Jobs that a worker has in hand at a time, and partitions that a consumer reads side by side. */
const concurrency = 256
const partitionsAtOnce = 8

/** What is ready while a send is under way goes together in the next one. */
class Sender {
  readonly #producer: Producer
  readonly #topic: string
  #waiting: { readonly message: Message; readonly sent: (value: unknown) => void }[] = []
  #isSending = false
  sent = 0
  onSent = (): void => {}

  constructor(producer: Producer, topic: string) {
    this.#producer = producer
    this.#topic = topic
  }

  /** Resolves when the brokers have it. */
  send(message: Message): Promise<unknown> {
    return new Promise(sent => {
      this.#waiting.push({ message, sent })
      if (!this.#isSending) void this.#sendAll()
    })
  }

  async sendBatch(messages: Message[]): Promise<void> {
    await this.#producer.send({ topic: this.#topic, messages })
    this.sent += messages.length
    this.onSent()
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true
    await new Promise(resolve => setImmediate(resolve))
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      await this.sendBatch(batch.map(({ message }) => message))
      for (const { sent } of batch) sent(null)
    }
    this.#isSending = false
  }
}

/** What a programmer would write with the libraries alone: batches where they take batches, and nothing around it. */
class BareHop {
  #sender: Sender | null = null
  readonly #closers: (() => Promise<unknown>)[] = []

  /** From the log to the queue. */
  async addJobs(options: BareHopOptions): Promise<void> {
    const queue = new Queue(options.queueName, {
      connection: { url: options.redisUrl },
      defaultJobOptions: { removeOnComplete: true },
    })
    this.#closers.push(() => queue.close())
    await this.#consume(options, 'bare-adder', async messages => {
      await queue.addBulk(
        messages.map(({ key, value }) => ({
          name: 'embed',
          data: { itemId: String(key), event: value!.toString('base64') },
        })),
      )
    })
  }

  /** From the queue to the log; a job is complete when its record is there. */
  async work(options: BareHopOptions): Promise<void> {
    const sender = await this.#openSender(options)
    const value = Buffer.alloc(options.resultBytes, 1)
    const worker = new Worker<{ readonly itemId: string }>(
      options.queueName,
      ({ data }) => sender.send({ key: data.itemId, value }),
      { connection: { url: options.redisUrl, maxRetriesPerRequest: null }, concurrency },
    )
    this.#closers.push(() => worker.close())
    await worker.waitUntilReady()
  }

  /** From log to log. */
  async copy(options: BareHopOptions): Promise<void> {
    const sender = await this.#openSender(options)
    const value = Buffer.alloc(options.resultBytes, 1)
    await this.#consume(options, 'bare-copier', messages =>
      sender.sendBatch(messages.map(({ key }) => ({ key, value }))),
    )
  }

  /** Resolves when so many records were produced since the start. */
  async produced(count: number): Promise<void> {
    const sender = this.#sender!
    while (sender.sent < count)
      await new Promise<void>(resolve => {
        sender.onSent = resolve
      })
  }

  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) await close()
  }

  async #openSender({ brokers, target }: BareHopOptions): Promise<Sender> {
    const producer = kafkaOf(brokers).producer()
    await producer.connect()
    this.#closers.push(() => producer.disconnect())
    this.#sender = new Sender(producer, target)
    return this.#sender
  }

  async #consume(
    { brokers, source }: BareHopOptions,
    groupId: string,
    take: (messages: readonly { readonly key: Buffer | null; readonly value: Buffer | null }[]) => Promise<void>,
  ): Promise<void> {
    const consumer: Consumer = kafkaOf(brokers).consumer({ groupId, maxWaitTimeInMs: 100 })
    await consumer.connect()
    await consumer.subscribe({ topic: source, fromBeginning: true })
    const joined = new Promise<void>(resolve => {
      consumer.on(consumer.events.GROUP_JOIN, () => resolve())
    })
    await consumer.run({
      partitionsConsumedConcurrently: partitionsAtOnce,
      eachBatch: ({ batch: { messages } }) => take(messages),
    })
    await joined
    this.#closers.push(() => consumer.disconnect())
  }
}

export type { BareHop }

const kafkaOf = (brokers: readonly string[]) =>
  new kafkajs.Kafka({ clientId: 'bare', brokers: [...brokers], logLevel: kafkajs.logLevel.ERROR })

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
serveCalls(new BareHop())

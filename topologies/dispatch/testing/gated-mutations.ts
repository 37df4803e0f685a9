import { mutationTopic } from '../../../schemas/topics.ts'
import type { EventLog, LogReader, ReaderOptions } from '../../event-log.ts'
import { testGeneration } from '../test-records.ts'

/** A log whose mutation readers deliver nothing while the gate is closed. */
export class GatedMutations {
  readonly log: EventLog
  /** Polls of other readers that have begun. */
  otherPolls = 0
  #gate = Promise.withResolvers<void>()

  constructor(inner: EventLog) {
    this.#gate.resolve()
    this.log = {
      ensureTopic: spec => inner.ensureTopic(spec),
      deleteTopic: topic => inner.deleteTopic(topic),
      topicSpec: topic => inner.topicSpec(topic),
      partitionCount: topic => inner.partitionCount(topic),
      append: (topic, records) => inner.append(topic, records),
      offsets: topic => inner.offsets(topic),
      openReader: async options => this.#watched(await inner.openReader(options), options),
      committed: (group, topic) => inner.committed(group, topic),
      close: () => inner.close(),
    }
  }

  closeGate(): void {
    this.#gate = Promise.withResolvers()
    this.otherPolls = 0
  }

  openGate(): void {
    this.#gate.resolve()
  }

  #watched(reader: LogReader, { topic }: ReaderOptions): LogReader {
    const isGated = topic === mutationTopic(testGeneration)
    return {
      poll: async (maxRecords, waitMs) => {
        if (isGated) await this.#gate.promise
        else this.otherPolls++
        return reader.poll(maxRecords, waitMs)
      },
      assignment: () => reader.assignment(),
      pause: partitions => reader.pause(partitions),
      resume: partitions => reader.resume(partitions),
      position: partition => reader.position(partition),
      commit: offsets => reader.commit(offsets),
      close: () => reader.close(),
    }
  }
}

import { mutationTopic } from '../../../schemas/topics.ts'
import type { EventLog, LogReader, ReaderOptions } from '../../event-log.ts'
import { testGeneration } from '../test-records.ts'

const readsMutations = ({ topic }: ReaderOptions): boolean => topic === mutationTopic(testGeneration)

/** A log of which some readers, those of mutations where nothing is said, deliver nothing while the gate is closed. */
export class GatedMutations {
  readonly log: EventLog
  /** Readers that are open. */
  readonly readers = new Set<ReaderOptions>()
  /** Polls of other readers that have begun. */
  otherPolls = 0
  #gate = Promise.withResolvers<void>()

  constructor(inner: EventLog, isGated: (options: ReaderOptions) => boolean = readsMutations) {
    this.#gate.resolve()
    this.log = {
      ensureTopic: spec => inner.ensureTopic(spec),
      deleteTopic: topic => inner.deleteTopic(topic),
      topicSpec: topic => inner.topicSpec(topic),
      partitionCount: topic => inner.partitionCount(topic),
      append: (topic, records) => inner.append(topic, records),
      offsets: topic => inner.offsets(topic),
      openReader: async options => this.#watched(await inner.openReader(options), options, isGated(options)),
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

  #watched(reader: LogReader, options: ReaderOptions, isGated: boolean): LogReader {
    this.readers.add(options)
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
      close: () => {
        this.readers.delete(options)
        return reader.close()
      },
    }
  }
}

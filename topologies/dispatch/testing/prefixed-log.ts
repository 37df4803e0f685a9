import type { EventLog } from '../../event-log.ts'

/** The same log with topics and groups of its own: several tests share a broker, and the topics' names are fixed. */
export function prefixedLog(log: EventLog, prefix: string): EventLog {
  const own = (name: string) => `${prefix}.${name}`
  return {
    ensureTopic: spec => log.ensureTopic({ ...spec, name: own(spec.name) }),
    deleteTopic: topic => log.deleteTopic(own(topic)),
    topicSpec: topic => log.topicSpec(own(topic)),
    partitionCount: topic => log.partitionCount(own(topic)),
    append: (topic, records) => log.append(own(topic), records),
    offsets: topic => log.offsets(own(topic)),
    openReader: options =>
      log.openReader({
        ...options,
        topic: own(options.topic),
        ...(options.group === undefined ? {} : { group: own(options.group) }),
      }),
    committed: (group, topic) => log.committed(own(group), own(topic)),
    close: () => log.close(),
  }
}

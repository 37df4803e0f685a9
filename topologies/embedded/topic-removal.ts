import type { EmbeddedEnvironment, TableName } from './environment.ts'
import { topicPrefix } from './record-layout.ts'

/** Tables whose keys begin with the id of a topic. */
const tables: readonly TableName[] = ['records', 'lastOffsets', 'tombstones', 'groupOffsets', 'partitions']
/** Removed in one transaction, so that those of others wait for a moment only. */
const rowsPerRemoval = 500

/** Removes the rows of a topic that nobody writes any more. */
export async function removeTopicRows(environment: EmbeddedEnvironment, topicId: number): Promise<void> {
  const range = { start: topicPrefix(topicId), end: topicPrefix(topicId + 1), limit: rowsPerRemoval }
  for (const table of tables)
    for (;;) {
      const keys = Array.from(environment.range(table, range), ({ key }) => key)
      if (keys.length === 0) break
      await environment.write(
        batch => {
          for (const key of keys) batch.remove(table, key)
        },
        { reclaims: true },
      )
    }
}

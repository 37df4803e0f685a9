import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { asOffset, asPartition } from '../../../schemas/ids.ts'
import { EmbeddedEventLog } from '../embedded-event-log.ts'
import { EmbeddedFeatureStore } from '../embedded-feature-store.ts'
import { openKeyValueStore } from '../embedded-key-value-store.ts'
import { EmbeddedWorkQueue } from '../embedded-work-queue.ts'
import { EmbeddedEnvironment } from '../environment.ts'

/**
 * Writes the golden environment of the present format. Run once per format version, never again for an old one.
 * Argument: the file to write.
 */
const startMs = 1_700_000_000_000
let now = startMs
const directory = await mkdtemp(join(tmpdir(), 'freshet-golden-'))
const environment = await EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: () => now })

const log = new EmbeddedEventLog(environment)
const partition = asPartition(1)
const record = (key: string | null, value: string | null, headers: Record<string, string> = {}) => ({
  partition,
  key: key === null ? null : Buffer.from(key),
  value: value === null ? null : Buffer.from(value),
  headers,
})
await log.ensureTopic({
  name: 'golden',
  partitions: 2,
  compacted: true,
  retentionMs: null,
  minCompactionLagMs: 1000,
  tombstoneRetentionMs: 5000,
})
await log.append('golden', [record('a', 'old'), record('b', 'kept'), record('a', 'new', { traceparent: '00-é' })])
await log.append('golden', [record('b', null), record(null, 'no key')])
now += 2000
await environment.compactNow()
await log.append('golden', [record('a', 'young')])
const reader = await log.openReader({ topic: 'golden', partitions: [partition], group: 'readers', from: new Map() })
await reader.commit(new Map([[partition, asOffset(4)]]))

const queue = new EmbeddedWorkQueue(environment)
const job = (id: string, delayMs: number) => ({ id, priority: 'standby', payload: Buffer.from(id), delayMs }) as const
await queue.add([job('claimed', 0)])
await queue.claim(1, 1000, 0)
await queue.add([job('waiting', 0), job('delayed', 60_000)])

await new EmbeddedFeatureStore(environment).raise([{ key: 'hint:g:椅', value: 17 }], 60_000)
await openKeyValueStore(environment, 'items').write([{ key: 'i:椅', value: Buffer.from('row') }])

await environment.copyTo(join(directory, 'copy'))
await environment.close()
await rename(join(directory, 'copy', 'data.mdb'), process.argv[2]!)
await rm(directory, { recursive: true })

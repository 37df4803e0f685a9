import picocolors from 'picocolors'
import { expect, test } from 'vitest'
import type { Status } from '../../schemas/http-operations.ts'
import { blocks, renderStatusPanel } from './status-panel.ts'

const example: Status = {
  ready: true,
  items: { searchable: 820, pending: 0, failed: 0, deleted: 3 },
  indexAgeMs: 0,
  rates: { accepted: 0, searches: 0.4, searchable: 0 },
  generations: [{ id: 'g1', model: 'v1', fingerprint: 'ab'.repeat(32), dims: 256, state: 'active', share: 1 }],
  shards: [
    {
      shard: 0,
      replicas: [
        {
          id: 'g1-0-a',
          generation: 'g1',
          state: 'ready',
          reason: null,
          applied: { 0: '1650' },
          watermark: { 0: '823' },
          indexAgeMs: 0,
          rows: 1640,
          tombstones: 12,
          segments: 1,
          memoryBytes: 1_400_000,
          digest: { set: '0'.repeat(32), objects: '0'.repeat(32) },
          searchMs: { count: 31, sumMs: 21.4, p50: 0.6, p99: 1.9, buckets: [{ upToMs: null, count: 31 }] },
          storage: {
            graphs: 0,
            scannedRows: 1652,
            vectors: { memoryBytes: 1_300_000, diskBytes: 1_000_000, memoryPerVector: 793 },
            items: { memoryBytes: 100_000, diskBytes: 600_000, memoryPerItem: 121 },
          },
          vectors: { dims: 256, count: 1640, normMin: 0.9997, normMax: 1.0003, normMean: 1 },
          checkpoint: { writtenAtMs: 1_760_000_000_000, bytes: 1_600_000 },
          recall: null,
        },
      ],
    },
  ],
  pipeline: {
    queue: { live: 0, standby: 0, backfill: 0, delayed: 0, claimed: 0 },
    processes: [{ name: 'model-0', pid: 4242, state: 'running', restarts: 0 }],
    alarms: [],
    deadLetters: 0,
  },
  atMs: 1_760_000_000_000,
}
const options = {
  url: 'http://127.0.0.1:7480',
  columns: 130,
  colors: picocolors.createColors(false),
  pastIndexAgesMs: [],
}

test('a server at rest', () => {
  expect(renderStatusPanel(example, options).join('\n')).toMatchInlineSnapshot(`
    "freshet  ● ready                                                                                   http://127.0.0.1:7480  08:53:20

    items     820 searchable · 0 pending · 0 failed · 3 deleted
    freshness index age 0.0 s
    rates     accepted 0.0/s · searches 0.4/s · searchable 0.0/s
    work      waiting 0 live, 0 standby, 0 backfill · in work 0 · delayed 0 · 0 dead letters

    generation g1  active, 100% of queries, model v1 (256 dimensions)

    shard  replica  state    age  rows  tombstones  segments   memory  searches     p50     p99
        0  g1-0-a   ready  0.0 s  1640          12         1  1.3 MiB        31  0.6 ms  1.9 ms

    ● model-0  running (pid 4242)"
  `)
})

test('work in progress, a replica that refuses, a child that was restarted, an alarm', () => {
  const [shard] = example.shards
  const status: Status = {
    ...example,
    ready: false,
    indexAgeMs: 125_000,
    items: { searchable: 410, pending: 400, failed: 10, deleted: 0 },
    shards: [{ ...shard!, replicas: [{ ...shard!.replicas[0]!, state: 'refusing', reason: 'checkpoint\x1b[2J' }] }],
    pipeline: {
      ...example.pipeline,
      queue: { live: 3, standby: 0, backfill: 397, delayed: 1, claimed: 64 },
      processes: [{ name: 'model-0', pid: null, state: 'restarting', restarts: 2 }],
      alarms: [{ code: 'storage-full', message: 'no space left', sinceMs: 0 }],
      deadLetters: 10,
    },
  }
  const lines = renderStatusPanel(status, { ...options, pastIndexAgesMs: [0, 60_000, 125_000] })
  expect(lines.join('\n')).toMatchInlineSnapshot(`
    "freshet  ● not ready                                                                               http://127.0.0.1:7480  08:53:20

    items     ━━━━━━━━━━━━━━━─────────────── 410 searchable · 400 pending · 10 failed · 0 deleted
    freshness index age 2.1 min  ▁▄█
    rates     accepted 0.0/s · searches 0.4/s · searchable 0.0/s
    work      waiting 3 live, 0 standby, 397 backfill · in work 64 · delayed 1 · 10 dead letters
    alarm     no space left (storage-full)

    generation g1  active, 100% of queries, model v1 (256 dimensions)

    shard  replica  state                       age  rows  tombstones  segments   memory  searches     p50     p99
        0  g1-0-a   refusing: checkpoint·[2J  0.0 s  1640          12         1  1.3 MiB        31  0.6 ms  1.9 ms

    ● model-0  restarting, restarted 2 times"
  `)
})

test('blocks are scaled to the largest value, and never below a second', () => {
  expect(blocks([0, 500, 1_000])).toBe('▁▅█')
  expect(blocks([10, 20])).toBe('▁▁')
  expect(blocks([0, 30_000, 60_000])).toBe('▁▅█')
})

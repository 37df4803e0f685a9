import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { ItemUpserted } from '../../schemas/catalog-event.ts'
import {
  asOffset,
  asPartition,
  type Fingerprint,
  type Generation,
  type ItemId,
  type TopicEpoch,
} from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { inChildSpan } from '../../schemas/trace-span.ts'
import {
  type CatalogRecord,
  type DispatchState,
  defaultDispatchSettings,
  newDispatchState,
} from '../../topologies/dispatch/dispatch-state.ts'
import { traceRecords } from '../../topologies/dispatch/dispatch-trace.ts'
import { step } from '../../topologies/dispatch/step.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'
import type { EventLog, NewRecord } from '../../topologies/event-log.ts'
import { openTelemetry } from '../telemetry/telemetry.ts'
import { traceLog } from '../telemetry/traced-log.ts'
import { hardware, measure, type Report } from './report.ts'
import { note } from './scratch.ts'

const pairs = 9
const batches = 400
const recordsPerBatch = 256
const appends = 150
const spanCalls = 200_000
const generation = 'g1' as Generation
const epoch = '00000000000000e1' as TopicEpoch
const partition = asPartition(0)

/** What telemetry costs where nobody asked for traces: the same work with its calls and without them, turn by turn. */
export async function telemetryBench(): Promise<Report> {
  const records = Array.from({ length: batches }, (_, batch) => catalogBatch(batch))
  const stepRatio = await ratioOf(
    () => stepAll(records, false),
    () => stepAll(records, true),
  )
  note(`dispatch step: ${stepRatio.toFixed(3)}`)
  const appendRatio = await appendRatioOf()
  note(`append: ${appendRatio.toFixed(3)}`)
  const spanNs = await spanNanoseconds()
  return {
    bench: 'telemetry',
    hardware: hardware(),
    data: `${batches} batches of ${recordsPerBatch} catalog events through the dispatcher's step; ${appends} appends of ${recordsPerBatch} records to the embedded log, of which metrics are taken; ${spanCalls} spans that are not made. No OTEL_ variables; CPU time, median of ${pairs} pairs, turn by turn`,
    seed: null,
    baseline: 'the same without the calls, in this process: its CPU time / ours',
    measures: [
      measure('dispatch step: without / with', stepRatio, '', { atLeast: 0.97 }),
      measure('append: without / with metrics', appendRatio, '', { atLeast: 0.95 }),
      measure('a span that is not made', spanNs, 'ns', { atMost: 1_000 }),
    ],
  }
}

/** CPU time of the first by that of the second: below 1, the second takes more. */
async function ratioOf(bare: () => void | Promise<void>, ours: () => void | Promise<void>): Promise<number> {
  const ratios: number[] = []
  await bare()
  await ours()
  for (let pair = 0; pair < pairs; pair++) {
    const isBareFirst = pair % 2 === 0
    const first = await timed(isBareFirst ? bare : ours)
    const second = await timed(isBareFirst ? ours : bare)
    ratios.push(isBareFirst ? first / second : second / first)
  }
  return median(ratios)
}

/** CPU time of this process, ms: what others do on the machine is not in it. */
async function timed(work: () => void | Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
}

function stepAll(all: readonly (readonly CatalogRecord[])[], isTraced: boolean): void {
  const state = newState()
  for (const records of all) {
    const { records: read, end } = isTraced
      ? traceRecords(records, { generation, system: 'kafka' })
      : { records, end: () => undefined }
    step(state, { type: 'catalog', records: read, nowMs: 1_000 })
    end()
  }
}

function newState(): DispatchState {
  const settings = {
    ...defaultDispatchSettings,
    generation,
    acceptance: { fingerprint: 'f'.repeat(64) as Fingerprint, dims: 4, topicEpoch: epoch },
    partitionCount: 1,
    backfillUntil: [],
  }
  const state = newDispatchState(settings, () => undefined)
  const assigned = {
    partition,
    catalogFrom: asOffset(0),
    tailFrom: null,
    mutationsFrom: { next: asOffset(0), appendTimeMs: 0, highestVersion: asOffset(-1) },
    catalogEnd: asOffset(batches * recordsPerBatch),
    isShared: false,
    expectMarker: false,
  }
  step(state, { type: 'assignment', lost: [], gained: [assigned], committed: new Map(), nowMs: 1_000 })
  return state
}

function catalogBatch(batch: number): readonly CatalogRecord[] {
  return Array.from({ length: recordsPerBatch }, (_, i) => {
    const offset = asOffset(batch * recordsPerBatch + i)
    const event = upsert(`item-${offset}` as ItemId)
    const record = {
      topic: catalogTopic,
      partition,
      offset,
      appendTimeMs: 1_000,
      key: Buffer.from(event.itemId),
      value: Buffer.alloc(200),
      headers: {},
    }
    return { record, content: { kind: 'event', event } }
  })
}

function upsert(itemId: ItemId): ItemUpserted {
  return {
    type: 'ItemUpserted',
    itemId,
    images: [`https://shop.example/${itemId}.jpg`],
    imageVersion: '',
    refresh: false,
    title: itemId,
    category: 'Things',
    price: 10,
    currency: 'EUR',
    regions: [],
    available: true,
    attributes: {},
  }
}

async function appendRatioOf(): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-bench-'))
  const telemetry = await openTelemetry({ role: 'bench', environment: {}, log: pino({ level: 'silent' }) })
  const environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
  try {
    const log = new EmbeddedEventLog(environment)
    const forEver = { compacted: false, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
    await log.ensureTopic({ name: 'bench', partitions: 1, ...forEver })
    const records = Array.from({ length: recordsPerBatch }, (_, i): NewRecord => {
      const key = `item-${i}` as ItemId
      return { partition: partitionOf(key, 1), key: Buffer.from(key), value: Buffer.alloc(500) }
    })
    const appendBy = (append: EventLog['append']) => async (): Promise<void> => {
      for (let i = 0; i < appends; i++) await append('bench', records)
    }
    const bare = log.append.bind(log)
    const { append: traced } = traceLog(log, telemetry.meter)
    return await ratioOf(appendBy(bare), appendBy(traced))
  } finally {
    await environment.close()
    await telemetry.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** Beyond the promise that is awaited anyway. */
async function spanNanoseconds(): Promise<number> {
  const done = Promise.resolve(1)
  const bare = async (): Promise<void> => {
    for (let i = 0; i < spanCalls; i++) await done
  }
  const ours = async (): Promise<void> => {
    for (let i = 0; i < spanCalls; i++) await inChildSpan('span', {}, () => done)
  }
  await bare()
  await ours()
  const differences: number[] = []
  for (let pair = 0; pair < pairs; pair++) differences.push(-(await timed(bare)) + (await timed(ours)))
  return (median(differences) * 1e6) / spanCalls
}

import type { RemoteReplica } from '../../../query-gateway/remote/remote-replica.ts'
import { median } from '../figures.ts'
import { hardware, type Measure, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { BareHops } from './bare-hops.ts'
import { BenchInstallation } from './bench-installation.ts'
import { appendAll, type PreparedEvent, prepareEvents } from './catalog-load.ts'
import type { KafkaBenchOptions } from './kafka-bench-options.ts'
import { type CountedProcesses, CpuCount } from './process-cpu.ts'
import { untilSearchable } from './replica-watch.ts'

interface Size {
  readonly pairs: number
  readonly events: number
  readonly warmUp: number
}

const sizes: Readonly<Record<KafkaBenchOptions['length'], Size>> = {
  full: { pairs: 5, events: 10_000, warmUp: 10_000 },
  quick: { pairs: 1, events: 4_000, warmUp: 1_000 },
  smoke: { pairs: 1, events: 200, warmUp: 50 },
}

const kinds = ['path', 'loop', 'copy'] as const

/** One stretch of events: how fast, and what each process had to work for it. */
interface Window {
  readonly perSecond: number
  /** µs of CPU time per event, by process. */
  readonly cpu: ReadonlyMap<string, number>
}

type Windows = Readonly<Record<(typeof kinds)[number], Window[]>>

/** Events a second from the catalog to the shards, over real servers, against the same hops with the libraries alone. */
export async function kafkaIngestBench({ length }: KafkaBenchOptions): Promise<Report> {
  const { pairs, events } = sizes[length]
  const windows = await BenchInstallation.with({ shards: 2 }, installation => allWindows(installation, sizes[length]))
  const { path, loop, copy } = windows
  return {
    bench: 'kafka-ingest',
    hardware: hardware(),
    data: `${events.toLocaleString('en')} new items a window, each with a stored picture of its own, appended as fast as Kafka takes them; ${pairs} interleaved pairs; stub model; 1 dispatch, 1 work, 2 shards with one replica each, Kafka, Redis and the load on this machine`,
    seed: null,
    baseline:
      'the libraries alone over the same servers, in two processes: kafkajs consume → BullMQ addBulk → worker that does nothing → kafkajs produce, batches wherever they take batches; timed to the last acknowledged result',
    measures: [
      measure('whole path / bare loop', median(path.map((each, i) => each.perSecond / loop[i]!.perSecond)), '', {
        atLeast: 0.5,
      }),
      measure('whole path, to searchable', rateOf(path), 'events/s', { atLeast: 1_500 }),
      measure('bare loop', rateOf(loop), 'events/s'),
      measure('bare kafkajs consume and produce', rateOf(copy), 'events/s'),
      measure('CPU per event: bare loop / whole path', totalOf('loop', loop) / totalOf('path', path), ''),
      ...cpuMeasures('path', 'whole path', path),
      ...cpuMeasures('loop', 'bare loop', loop),
    ],
  }
}

async function allWindows(installation: BenchInstallation, size: Size): Promise<Windows> {
  const replicas = await startRoles(installation)
  const bare = await BareHops.open(installation)
  try {
    const processes = new Map([...installation.processes(), ...bare.processes()])
    let items = 0
    const searchableMs = async (events: readonly PreparedEvent[]): Promise<number> => {
      items += events.length
      const began = performance.now()
      await Promise.all([appendAll(installation, events), untilSearchable(replicas, items)])
      return performance.now() - began
    }
    const take = async (events: readonly PreparedEvent[], of: keyof Windows): Promise<Window> => {
      const run = { path: searchableMs, loop: bare.loopMs, copy: bare.copyMs }[of]
      return countedWindow(processes, events.length, () => run(events))
    }
    const warmUp = prepareEvents(installation, { prefix: 'warm', count: size.warmUp })
    for (const kind of kinds) await take(warmUp, kind)
    const windows: Windows = { path: [], loop: [], copy: [] }
    for (let pair = 0; pair < size.pairs; pair++) {
      const events = prepareEvents(installation, { prefix: `pair${pair}`, count: size.events })
      for (const kind of pair % 2 === 0 ? kinds : kinds.toReversed()) windows[kind].push(await take(events, kind))
      note(
        `pair ${pair + 1} of ${size.pairs}: ${kinds.map(kind => windowText(kind, windows[kind].at(-1)!)).join(', ')}`,
      )
    }
    return windows
  } finally {
    await bare.close()
    await Promise.all(replicas.map(replica => replica.close()))
  }
}

async function startRoles(installation: BenchInstallation): Promise<readonly RemoteReplica[]> {
  const [, , ...replicas] = await Promise.all([
    installation.start('dispatch'),
    installation.start('work'),
    installation.startShard(0, 'a'),
    installation.startShard(1, 'a'),
  ])
  return replicas
}

async function countedWindow(processes: CountedProcesses, events: number, run: () => Promise<number>): Promise<Window> {
  const count = new CpuCount(processes)
  const ms = await run()
  const cpu = new Map(Array.from(count.passedMs(), ([name, passedMs]) => [name, (passedMs * 1_000) / events]))
  return { perSecond: (events / ms) * 1_000, cpu }
}

const rateOf = (windows: readonly Window[]): number => median(windows.map(({ perSecond }) => perSecond))

/** Which processes have a part in what is measured; the others idle, and the load is the same for all. */
const partOf: Readonly<Record<keyof Windows, (process: string) => boolean>> = {
  path: name => !name.startsWith('bare') && name !== 'load',
  loop: name => ['bare adder', 'bare worker', 'kafka', 'redis'].includes(name),
  copy: name => ['bare copier', 'kafka'].includes(name),
}

/** µs per event. */
function totalOf(kind: keyof Windows, windows: readonly Window[]): number {
  return median(windows.map(({ cpu }) => [...cpu].reduce((sum, [name, us]) => sum + (partOf[kind](name) ? us : 0), 0)))
}

function cpuMeasures(kind: keyof Windows, of: string, windows: readonly Window[]): readonly Measure[] {
  const names = [...windows[0]!.cpu.keys()].filter(partOf[kind])
  return [
    measure(`${of}: CPU per event`, totalOf(kind, windows), 'µs'),
    ...names.map(name =>
      measure(`${of}: CPU per event, ${name}`, median(windows.map(({ cpu }) => cpu.get(name)!)), 'µs'),
    ),
  ]
}

function windowText(kind: keyof Windows, window: Window): string {
  return `${kind} ${window.perSecond.toFixed(0)}/s`
}

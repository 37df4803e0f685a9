import { Pool } from 'undici'
import { demoItems } from '../../demo-catalog.ts'
import { median, quantile } from '../figures.ts'
import { hardware, type Measure, measure, type Report } from '../report.ts'
import { note, publishAll, untilStatus, withServer } from '../scratch.ts'
import { cpuMsOf } from './cpu-time.ts'
import { type GatewayBenchOptions, openGatewayProcess, withGatewayScene } from './gateway-scene.ts'
import { LoadClient } from './load-client.ts'
import { closedWindow, type LoadWindow, openWindow, type Send, type Sent } from './offered-load.ts'
import { Photos } from './photos.ts'
import { sendSearch } from './search-client.ts'

const offeredShare = 3
const calmShare = 0.5
const pairs = 5
const seed = 1
/** In flight while nothing is refused: as many as the server works on at once, so that each place is always taken. */
const peakInFlight = { photos: 6, vectors: 32 } as const
const lengths = {
  full: { items: 200, windowMs: 8_000, recoveryMs: 15_000 },
  quick: { items: 40, windowMs: 3_000, recoveryMs: 6_000 },
  smoke: { items: 5, windowMs: 500, recoveryMs: 500 },
} as const
/** More than ever wait for an answer at once. */
const connections = 1_024

interface Target {
  readonly name: keyof typeof peakInFlight
  readonly send: Send
  /** CPU time of the process that takes the requests. */
  readonly cpuMs: () => number
}

/** Three times what the server can take, by photo and by vector, and what becomes of those it can take. */
export async function overloadBench(options: GatewayBenchOptions): Promise<Report> {
  const { items: most } = lengths[options.length]
  const items = demoItems().slice(0, most)
  const byPhoto = await withServer({}, async (server, client) => {
    await publishAll(client, items)
    await untilStatus(client, status => status.items.searchable === items.length)
    const photos = new Photos()
    const pool = new Pool(server.url, { connections })
    const send = photoSender(pool, photos)
    const measures = await measured({ name: 'photos', send, cpuMs: () => cpuMsOf(server.pid) }, options)
    await pool.destroy()
    return measures
  })
  const byVector = await withGatewayScene(options, async scene => {
    const { process, url } = await openGatewayProcess(scene, true)
    const load = new LoadClient(url, { connections })
    let next = 0
    // An answer that did not come is counted; the report shows how many.
    const send = async () => {
      const answer = await sendSearch(load, scene.queries.body(next++)).catch(() => null)
      return answer?.status ?? 0
    }
    const measures = await measured({ name: 'vectors', send, cpuMs: () => cpuMsOf(process.pid) }, options)
    load.close()
    await process.close()
    return { measures, dataText: scene.dataText }
  })
  return {
    bench: 'overload',
    hardware: hardware(),
    data: `photos: rooms and furniture, each a picture never seen before, the models run on it, catalogue of ${items.length} products; vectors: ${byVector.dataText}. Arrivals at random at ${offeredShare} × the peak, time counts from when each was due; server, models, shards and load share this machine`,
    seed,
    baseline: `the same server at its peak, ${pairs} interleaved pairs of windows: as many in flight as it works on at once, none refused, none with a deadline`,
    measures: [...byPhoto, ...byVector.measures],
  }
}

async function measured(target: Target, { length }: GatewayBenchOptions): Promise<readonly Measure[]> {
  const { windowMs, recoveryMs } = lengths[length]
  const { name, send } = target
  const peakNow = () => withCpu(target, () => closedWindow(send, { inFlight: peakInFlight[name], ms: windowMs }))
  let peak = await peakNow()
  const peaks: CostedWindow[] = []
  const overloads: CostedWindow[] = []
  for (let pair = 0; pair < pairs; pair++) {
    peak = await peakNow()
    const rate = offeredShare * peak.goodput
    overloads.push(await withCpu(target, () => openWindow(send, { rate, ms: windowMs, seed: seed + pair })))
    peaks.push(peak)
    note(
      `${name}: peak ${peak.goodput.toFixed(1)}/s, offered ${rate.toFixed(0)}/s, answered ${overloads.at(-1)!.goodput.toFixed(1)}/s`,
    )
  }
  const after = await openWindow(send, { rate: calmShare * peak.goodput, ms: recoveryMs, seed })
  return figures(name, { peaks, overloads, after })
}

interface CostedWindow extends LoadWindow {
  readonly cpuMs: number
}

async function withCpu({ cpuMs }: Target, window: () => Promise<LoadWindow>): Promise<CostedWindow> {
  const before = cpuMs()
  const found = await window()
  return { ...found, cpuMs: cpuMs() - before }
}

interface Windows {
  readonly peaks: readonly CostedWindow[]
  readonly overloads: readonly CostedWindow[]
  readonly after: LoadWindow
}

function figures(name: string, { peaks, overloads, after }: Windows): readonly Measure[] {
  const free = timesOf(peaks, 200)
  const accepted = timesOf(overloads, 200)
  const refused = timesOf(overloads, 503)
  const failed = overloads.flatMap(({ sent }) => sent).filter(({ status }) => status !== 200 && status !== 503)
  const freeP99 = quantile(free, 0.99)
  const label = (text: string): string => `${name}: ${text}`
  return [
    measure(label('goodput / peak'), median(overloads.map((each, i) => each.goodput / peaks[i]!.goodput)), '', {
      atLeast: 0.9,
    }),
    measure(label('p99 of accepted / p99 at the peak'), quantile(accepted, 0.99) / freeP99, '', { atMost: 2 }),
    measure(label('recovery'), recoveredAfterMs(after, 2 * freeP99) / 1_000, 's', { atMost: 5 }),
    measure(label('answers other than 200 and 503'), failed.length, '', { atMost: 0 }),
    measure(label('CPU time of a refusal / of a search'), refusalShare(peaks, overloads), ''),
    measure(label('peak'), median(peaks.map(({ goodput }) => goodput)), 'searches/s'),
    measure(label('p99 at the peak'), freeP99, 'ms'),
    measure(label('p50 of accepted'), median(accepted), 'ms'),
    measure(label('p99 of accepted'), quantile(accepted, 0.99), 'ms'),
    ...(refused.length === 0
      ? []
      : [
          measure(label('refused'), (100 * refused.length) / (refused.length + accepted.length), '%'),
          measure(label('p50 of a refusal'), median(refused), 'ms'),
          measure(label('p99 of a refusal'), quantile(refused, 0.99), 'ms'),
        ]),
  ]
}

function timesOf(windows: readonly LoadWindow[], status: number): readonly number[] {
  return windows.flatMap(({ sent }) => sent.filter(each => each.status === status)).map(({ tookMs }) => tookMs)
}

/** The time from the end of the overload after which at most one request in a hundred is refused or slow. */
function recoveredAfterMs({ sent, ms }: LoadWindow, slowMs: number): number {
  const isBad = ({ status, tookMs }: Sent): boolean => status !== 200 || tookMs > slowMs
  const times = [0, ...sent.filter(isBad).map(({ dueMs }) => dueMs)]
  for (const from of times) {
    const later = sent.filter(({ dueMs }) => dueMs > from)
    if (later.filter(isBad).length <= later.length / 100) return from
  }
  return ms
}

/** Of the process that takes the requests, by what it needed at the peak for each search. */
function refusalShare(peaks: readonly CostedWindow[], overloads: readonly CostedWindow[]): number {
  const sum = (windows: readonly CostedWindow[], of: (window: CostedWindow) => number): number =>
    windows.reduce((total, window) => total + of(window), 0)
  const count = (status: number) => (window: CostedWindow) => window.sent.filter(each => each.status === status).length
  const searchMs = sum(peaks, ({ cpuMs }) => cpuMs) / sum(peaks, count(200))
  const refusedMs = sum(overloads, ({ cpuMs }) => cpuMs) - searchMs * sum(overloads, count(200))
  return Math.max(0, refusedMs / Math.max(1, sum(overloads, count(503)))) / searchMs
}

/** Without retries, which would hide what is measured. */
function photoSender(pool: Pool, photos: Photos): Send {
  const headers = { 'content-type': 'multipart/form-data; boundary=photo' }
  return async () => {
    const body = photoForm(photos.next())
    try {
      const response = await pool.request({ method: 'POST', path: '/v1/search', headers, body })
      await response.body.dump()
      return response.statusCode
    } catch {
      // Counted as an answer that did not come; the report shows how many.
      return 0
    }
  }
}

function photoForm(photo: Buffer): Buffer {
  const head =
    '--photo\r\ncontent-disposition: form-data; name="image"; filename="photo"\r\ncontent-type: image/jpeg\r\n\r\n'
  return Buffer.concat([Buffer.from(head), photo, Buffer.from('\r\n--photo--\r\n')])
}

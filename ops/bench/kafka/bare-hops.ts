import { fileURLToPath } from 'node:url'
import { MeasuredProcess } from '../shard/child-calls.ts'
import type { BareHop, BareHopOptions } from './bare-hop-child.ts'
import type { BenchInstallation } from './bench-installation.ts'
import { appendAll, type PreparedEvent } from './catalog-load.ts'
import type { CountedProcesses } from './process-cpu.ts'

const entry = fileURLToPath(new URL('./bare-hop-child.ts', import.meta.url))

/** An `ObjectsPut` of one object with 256 dimensions, about. */
const resultBytes = 750

/**
 * The baselines: the same hops over the same servers with the libraries alone, in two processes, and consume and
 * produce in one. They stay up through all windows, as the roles do; when nothing comes they do nothing.
 */
export class BareHops {
  readonly #installation: BenchInstallation
  readonly #adder = new MeasuredProcess<BareHop>(entry)
  readonly #worker = new MeasuredProcess<BareHop>(entry)
  readonly #copier = new MeasuredProcess<BareHop>(entry)
  #looped = 0
  #copied = 0

  private constructor(installation: BenchInstallation) {
    this.#installation = installation
  }

  static async open(installation: BenchInstallation): Promise<BareHops> {
    const hops = new BareHops(installation)
    try {
      await hops.#open()
      return hops
    } catch (thrown) {
      await hops.close()
      throw thrown
    }
  }

  processes(): CountedProcesses {
    return new Map([
      ['bare adder', this.#adder.pid],
      ['bare worker', this.#worker.pid],
      ['bare copier', this.#copier.pid],
    ])
  }

  /** Through consume, addBulk, worker and produce. Ms from the first append until the last result is in the log. */
  readonly loopMs = async (events: readonly PreparedEvent[]): Promise<number> => {
    this.#looped += events.length
    const began = performance.now()
    await Promise.all([
      appendAll(this.#installation, events, topics.loopSource),
      this.#worker.calls.produced(this.#looped),
    ])
    return performance.now() - began
  }

  /** Through consume and produce. */
  readonly copyMs = async (events: readonly PreparedEvent[]): Promise<number> => {
    this.#copied += events.length
    const began = performance.now()
    await Promise.all([
      appendAll(this.#installation, events, topics.copySource),
      this.#copier.calls.produced(this.#copied),
    ])
    return performance.now() - began
  }

  async close(): Promise<void> {
    await Promise.all([this.#adder, this.#worker, this.#copier].map(each => each.close()))
  }

  async #open(): Promise<void> {
    const { log, config, servers } = this.#installation
    const kept = { compacted: false, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
    for (const name of Object.values(topics)) await log.ensureTopic({ ...kept, name, partitions: config.partitions })
    const common = { brokers: servers.kafka.brokers, redisUrl: servers.redis.url, queueName: 'bare', resultBytes }
    const loop: BareHopOptions = { ...common, source: topics.loopSource, target: topics.loopTarget }
    const copy: BareHopOptions = { ...common, source: topics.copySource, target: topics.copyTarget }
    await Promise.all([this.#adder.calls.addJobs(loop), this.#worker.calls.work(loop), this.#copier.calls.copy(copy)])
  }
}

const topics = {
  loopSource: 'bare.loop.source',
  loopTarget: 'bare.loop.target',
  copySource: 'bare.copy.source',
  copyTarget: 'bare.copy.target',
} as const

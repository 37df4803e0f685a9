import { setTimeout as delay } from 'node:timers/promises'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import type { CutReplica, ReplicaStatus } from '../../schemas/shard-api.ts'
import type { CertifiableReplica, CertificateOptions } from './certificate.ts'
import type { CatalogProgress } from './partition-proof.ts'

/** What came of asking a replica, with its name. */
export class ReplicaTrouble extends Error {
  readonly replica: CertifiableReplica
  readonly error: FreshetError
  /** It answers, and does not come on. */
  readonly isLag: boolean

  constructor(replica: CertifiableReplica, error: FreshetError, isLag = false) {
    super(error.message, { cause: error })
    this.replica = replica
    this.error = error
    this.isLag = isLag
  }
}

/** The replica's cuts; what fails is told with its name. @throws ReplicaTrouble */
export function telling(replica: CertifiableReplica): CutReplica {
  return {
    beginCut: (partition, offset) => named(replica, replica.beginCut(partition, offset)),
    cutItems: (cut, itemIds) => named(replica, replica.cutItems(cut, itemIds)),
    cutBucket: (cut, bucket) => named(replica, replica.cutBucket(cut, bucket)),
    // A cut that is not ended is ended by its replica, in time.
    endCut: cut => replica.endCut(cut).catch(() => undefined),
  }
}

function named<T>(replica: CertifiableReplica, answer: Promise<T>): Promise<T> {
  return answer.catch(thrown => {
    throw new ReplicaTrouble(replica, asFreshetError(thrown))
  })
}

/** Between two looks at the same pair of replicas, and the age at which a status is asked for again. */
const lookEveryMs = 100

interface Standing {
  readonly at: Offset
  readonly sinceMs: number
}

type ProgressOptions = Pick<CertificateOptions, 'catalogEnds' | 'lagTimeoutMs' | 'clock' | 'signal'>

/** How far replicas are, by their watermarks; asked together for all partitions that are waited for. */
export class ReplicaProgress {
  readonly #options: ProgressOptions
  readonly #statuses = new WeakMap<
    CertifiableReplica,
    { readonly askedAtMs: number; readonly status: Promise<ReplicaStatus> }
  >()

  constructor(options: ProgressOptions) {
    this.#options = options
  }

  /** For `provePartition`. What it returns throws ReplicaTrouble when a replica lags, and what `catalogEnds` throws. */
  of(partition: Partition, replicas: readonly CertifiableReplica[]): () => Promise<CatalogProgress> {
    const standings = new Map<CertifiableReplica, Standing>()
    let isFirst = true
    return async () => {
      if (!isFirst) await this.#pause()
      isFirst = false
      const reached = await Promise.all(replicas.map(replica => this.#watermark(replica, partition)))
      const { end } = (await this.#options.catalogEnds()).get(partition) ?? { end: asOffset(0) }
      for (const [i, replica] of replicas.entries()) this.#requireGoing(standings, { replica, at: reached[i]!, end })
      return { reached: asOffset(Math.min(...reached)), end }
    }
  }

  #requireGoing(
    standings: Map<CertifiableReplica, Standing>,
    { replica, at, end }: { replica: CertifiableReplica; at: Offset; end: Offset },
  ): void {
    const { clock, lagTimeoutMs } = this.#options
    const nowMs = clock()
    const standing = standings.get(replica)
    if (standing === undefined || standing.at !== at || at >= end - 1) {
      standings.set(replica, { at, sinceMs: nowMs })
      return
    }
    const stoodMs = nowMs - standing.sinceMs
    if (stoodMs < lagTimeoutMs) return
    const seconds = Math.round(stoodMs / 1_000)
    const message = `lags: it has stood at ${at} for ${seconds} s, the end is ${end}`
    throw new ReplicaTrouble(replica, new FreshetError('not-ready', message), true)
  }

  async #watermark(replica: CertifiableReplica, partition: Partition): Promise<Offset> {
    const { watermark } = await named(replica, this.#status(replica))
    return watermark[partition] ?? asOffset(-1)
  }

  /** An old one is no harm: watermarks only grow. */
  #status(replica: CertifiableReplica): Promise<ReplicaStatus> {
    const nowMs = this.#options.clock()
    const known = this.#statuses.get(replica)
    if (known !== undefined && nowMs - known.askedAtMs < lookEveryMs) return known.status
    const status = replica.status()
    this.#statuses.set(replica, { askedAtMs: nowMs, status })
    return status
  }

  async #pause(): Promise<void> {
    const { signal } = this.#options
    await delay(lookEveryMs, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

import pLimit from 'p-limit'
import { FreshetError } from '../../../schemas/errors.ts'
import type { ItemId, Offset, Partition } from '../../../schemas/ids.ts'
import type { ItemRegisters, ReplicaStatus } from '../../../schemas/shard-api.ts'
import { stubFingerprint, stubVector } from '../../stub-model.ts'
import { CatalogFold, type ExpectedItem } from './catalog-fold.ts'
import { type CatalogLoad, partitions } from './catalog-load.ts'
import { CatalogTail } from './catalog-tail.ts'
import { type FaultInstallation, generation } from './fault-installation.ts'
import type { ReplicaAccess } from './replica-access.ts'
import { until } from './until.ts'

export interface OracleOptions {
  readonly installation: FaultInstallation
  readonly load: CatalogLoad
  readonly categories: readonly string[]
}

export interface Finding {
  readonly liveItems: number
  readonly deletedItems: number
  readonly replicas: number
  /** Broken promises, in words; empty when all is well. */
  readonly problems: readonly string[]
}

const askedAtOnce = 16
/** Longer than any recovery takes: it is told how long that was, and a run that is late is still a run that came to its end. */
const settleWithinMs = 300_000
/** The most that one search returns. */
const maxK = 200

/** Holds every replica and the gateway against the sequential fold of what the catalog holds. */
export class Oracle {
  readonly #options: OracleOptions
  readonly #fold: CatalogFold
  readonly #tail: CatalogTail
  readonly #limit = pLimit(askedAtOnce)
  readonly #digestByReference: ReadonlyMap<string, string>

  /** Begins to follow the catalog. */
  static async start(options: OracleOptions): Promise<Oracle> {
    const { log, codecs } = options.installation
    const fold = new CatalogFold()
    return new Oracle(options, fold, await CatalogTail.start({ log, codec: codecs.catalog, fold, partitions }))
  }

  private constructor(options: OracleOptions, fold: CatalogFold, tail: CatalogTail) {
    this.#options = options
    this.#fold = fold
    this.#tail = tail
    const { pictures } = options.installation
    this.#digestByReference = new Map(pictures.map(({ reference, digest }) => [reference, digest]))
  }

  /** As of the last look. */
  get items(): ReadonlyMap<ItemId, ExpectedItem> {
    return this.#fold.items
  }

  /**
   * Waits until every role is ready and every replica's watermarks reach the end of the catalog, which nobody writes
   * to meanwhile, and compares.
   */
  async check(): Promise<Finding> {
    const problems: string[] = []
    const ends = await this.#tail.reachEnd()
    problems.push(...this.#fold.missing(this.#options.load.acknowledged))
    await this.#settled(ends).catch((error: Error) => problems.push(error.message))
    return this.#finding([...problems, ...(await this.compare())])
  }

  /** Compares with what the catalog held at the last look; also while there is none any more. */
  async compare(): Promise<readonly string[]> {
    const replicas = [...this.#options.installation.replicas().values()]
    const found = await Promise.all(replicas.map(replica => this.#compareReplica(replica)))
    return [...found.flat(), ...(await this.#compareGateway())]
  }

  close(): Promise<void> {
    return this.#tail.close()
  }

  #finding(problems: readonly string[]): Finding {
    const items = [...this.#fold.items.values()]
    const liveItems = items.filter(({ live }) => live !== null).length
    const replicas = this.#options.installation.replicas().size
    return { liveItems, deletedItems: items.length - liveItems, replicas, problems }
  }

  async #settled(ends: ReadonlyMap<Partition, Offset>): Promise<void> {
    const { installation } = this.#options
    let waitsFor = ''
    const isSettled = async (): Promise<boolean> => {
      const troubles = await installation.fleet.troubles()
      const behind = await Promise.all([...installation.replicas().values()].map(each => behindOf(each, ends)))
      waitsFor = [...troubles, ...behind.flat()].join('; ')
      return waitsFor === ''
    }
    await until('everything is applied', isSettled, settleWithinMs).catch((error: Error) => {
      throw new Error(`${error.message}: ${waitsFor}`)
    })
  }

  async #compareReplica(replica: ReplicaAccess): Promise<readonly string[]> {
    const of = (problem: string) => `${replica.replica}: ${problem}`
    try {
      const status = await replica.status()
      const items = [...this.#fold.items.values()]
      const found = await Promise.all(
        items.map(item => this.#limit(async () => this.#differences(item, await replica.registers(item.itemId)))),
      )
      const searched = await Promise.all(
        this.#options.categories.map(category => this.#limit(() => this.#searchReplica(replica, category))),
      )
      return [...this.#compareDigests(status), ...found.flat(), ...searched.flat()].map(of)
    } catch (thrown) {
      return [of((thrown as Error).message)]
    }
  }

  #compareDigests({ digests, items }: ReplicaStatus): readonly string[] {
    const { topicEpoch } = this.#options.installation
    const problems = Object.entries(digests).flatMap(([partition, found]) => {
      const expected = this.#fold.digestOf(Number(partition) as Partition, topicEpoch)
      return [
        ...(found.set === expected.set ? [] : [`the set digest of partition ${partition} differs from the fold's`]),
        ...(found.objects === expected.objects
          ? []
          : [`the objects digest of partition ${partition} differs from the fold's`]),
      ]
    })
    const live = [...this.#fold.items.values()].filter(each => each.live !== null).length
    return items.searchable === live ? problems : [...problems, `${items.searchable} items are searchable, not ${live}`]
  }

  #differences({ itemId, live, offset }: ExpectedItem, registers: ItemRegisters): readonly string[] {
    const { searchable, snapshot, attributes, objects } = registers
    if (live === null) return searchable ? [`the deleted ${itemId} is searchable (deleted at ${offset})`] : []
    if (!searchable || snapshot === null) return [`${itemId} is not searchable`]
    const digests = live.images.map(image => this.#digestByReference.get(image))
    const isAtVersion = attributes === live.attributesOffset && snapshot.title === live.title
    const hasPicture = objects >= live.introducedOffset && snapshot.imageDigests.join() === digests.join()
    return [
      ...(isAtVersion ? [] : [`${itemId} is at version ${attributes}, not ${live.attributesOffset}`]),
      ...(hasPicture ? [] : [`${itemId} has the pictures of ${objects}, not those of ${live.introducedOffset}`]),
      ...(snapshot.stale ? [`${itemId} is marked stale`] : []),
    ]
  }

  async #searchReplica(replica: ReplicaAccess, category: string): Promise<readonly string[]> {
    const { hits } = await replica.search({
      generation,
      fingerprint: stubFingerprint,
      vector: this.#anyVector(),
      k: maxK,
      exact: true,
      filter: { category: [category] },
    })
    return this.#compareHits(category, hits)
  }

  async #compareGateway(): Promise<readonly string[]> {
    const { client } = this.#options.installation
    const searches = this.#options.categories.map(category =>
      this.#limit(async () => {
        const vector = [...this.#anyVector()]
        const filter = { category: [category] }
        const answer = await client.search({
          vector,
          fingerprint: stubFingerprint,
          k: maxK,
          exact: true,
          filter,
          rerank: false,
        })
        return this.#compareHits(category, answer.results)
      }),
    )
    const deleted = [...this.#fold.items.values()].filter(({ live }) => live === null)
    const lookups = deleted.map(({ itemId }) => this.#limit(() => this.#lookUpDeleted(itemId)))
    try {
      return (await Promise.all([...searches, ...lookups])).flat().map(problem => `gateway: ${problem}`)
    } catch (thrown) {
      return [`gateway: ${(thrown as Error).message}`]
    }
  }

  /** An exact search for all of a category finds each of its items, and nothing else. */
  #compareHits(category: string, hits: readonly { readonly itemId: string }[]): readonly string[] {
    const expected = new Set(
      [...this.#fold.items.values()].filter(({ live }) => live?.category === category).map(({ itemId }) => `${itemId}`),
    )
    const found = new Set(hits.map(({ itemId }) => itemId))
    return [
      ...(found.size === hits.length ? [] : [`a search of ${category} returned an item twice`]),
      ...[...found]
        .filter(id => !expected.has(id))
        .map(id => `a search of ${category} returned ${id}, which is not there`),
      ...[...expected].filter(id => !found.has(id)).map(id => `a search of ${category} did not return ${id}`),
    ]
  }

  async #lookUpDeleted(itemId: ItemId): Promise<readonly string[]> {
    try {
      await this.#options.installation.client.item(itemId)
      return [`the deleted ${itemId} was returned`]
    } catch (thrown) {
      if (thrown instanceof FreshetError && thrown.code === 'item-not-found') return []
      throw thrown
    }
  }

  #anyVector(): Float32Array {
    return stubVector(this.#options.installation.pictures[0]!.digest)
  }
}

/** Where the replica's watermarks are not yet at the ends, and that it is not ready. */
async function behindOf(replica: ReplicaAccess, ends: ReadonlyMap<Partition, Offset>): Promise<readonly string[]> {
  try {
    const { state, watermark } = await replica.status()
    const behind = [...ends].filter(([partition, end]) => (watermark[partition] ?? -1) < end - 1)
    const where = behind.map(([partition, end]) => `partition ${partition} at ${watermark[partition]} of ${end - 1}`)
    return [
      ...(state === 'ready' ? [] : [`${replica.replica} is ${state}`]),
      ...(where.length === 0 ? [] : [`${replica.replica}: ${where.join(', ')}`]),
    ]
  } catch (thrown) {
    return [`${replica.replica}: ${(thrown as Error).message}`]
  }
}

/** Resolves with how long it took, ms, until every replica that runs has applied what these offsets name. */
export function untilApplied(installation: FaultInstallation, latest: ReadonlyMap<Partition, Offset>): Promise<number> {
  const ends = new Map([...latest].map(([partition, offset]) => [partition, (offset + 1) as Offset]))
  const isApplied = async () => {
    const behind = await Promise.all([...installation.replicas().values()].map(each => behindOf(each, ends)))
    return behind.flat().length === 0
  }
  return until('what was acknowledged is applied by every replica', isApplied, settleWithinMs)
}

import { acceptVector } from '../schemas/accept-mutation.ts'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { type DetectAnswer, type DetectQuery, defaultK, type SearchAnswer } from '../schemas/http-search.ts'
import { type ImageDigest, type ItemId, parseItemId } from '../schemas/ids.ts'
import type { AnalysedImage, ImageBytes, QuerySelection } from '../schemas/image-analysis.ts'
import { partitionOf } from '../schemas/partition.ts'
import type { ShardSearchRequest } from '../schemas/shard-api.ts'
import { tracedAnalysis } from './analysis-trace.ts'
import { CandidateCache } from './cache/candidate-cache.ts'
import { PictureCache, type PictureQuestion } from './cache/picture-cache.ts'
import { QueryTime, untilAborted } from './deadline.ts'
import type { EngagementIntake } from './engagement-intake.ts'
import { withoutUnreadable } from './fanout/readable-hits.ts'
import type { GatewayOptions } from './gateway-options.ts'
import type { QualityBook } from './generation-quality.ts'
import { detectedObjects } from './item-view.ts'
import type { GatewayPorts, RoutedGeneration } from './ports.ts'
import type { QueryTurn } from './query-admission.ts'
import { type QueryPicture, resolvePicture } from './query-image.ts'
import type { Epoch, QueryRouter, RoutingWish } from './query-router.ts'
import {
  CandidateRanking,
  type QueryItem,
  type RankedAnswer,
  type RankingRequest,
} from './ranking/candidate-ranking.ts'
import { ItemRates } from './ranking/item-rates.ts'
import type { WeightsBook } from './ranking/ranking-weights.ts'
import { askInTurn, type ReplicaRoster } from './replica-roster.ts'
import { type FanoutAnswer, ShardFanout } from './shard-fanout.ts'
import { StageTimes } from './stage-times.ts'
import { decimal } from './system-status.ts'
import { type DetectSubject, shardFilter, type VisualQuery } from './visual-query.ts'

/** What is searched for: a vector of the chosen generation, and what the answer tells about where it came from. */
interface Probe {
  readonly vector: Float32Array
  readonly objects: SearchAnswer['objects']
  readonly searched: SearchAnswer['searched']
  readonly timingMs: AnalysedImage['timingMs']
  /** The item that was searched by, where it was one. */
  readonly like: QueryItem | null
  /** The picture had been looked at before. */
  readonly known: boolean
}

/** A query that knows which generation answers it. */
interface Pinned {
  readonly queryId: string
  readonly epoch: Epoch
  readonly startedAt: number
  readonly time: QueryTime
}

const noAnalysis = { decode: 0, detect: 0, embed: 0 }

type SearchOptions = Pick<
  GatewayOptions,
  'imageMaxBytes' | 'fanout' | 'stageBudgetMs' | 'meter' | 'cache' | 'featuresTimeoutMs'
>

/** What a search needs of the rest. */
export type SearchPorts = Pick<
  GatewayPorts,
  'replicas' | 'features' | 'partitions' | 'fetchImage' | 'blobs' | 'clock' | 'newId'
>

export interface VisualSearchParts {
  readonly ports: SearchPorts
  readonly roster: ReplicaRoster
  readonly router: QueryRouter
  readonly weights: WeightsBook
  readonly quality: Pick<QualityBook, 'answered' | 'failed'>
  readonly engagement: Pick<EngagementIntake, 'hashOf' | 'queryId' | 'noteShown'>
  /** Whether queries wait for their turn; never when left out. */
  readonly isCrowded?: () => boolean
  readonly options: SearchOptions
}

/**
 * One query from picture to ranked results, pinned to one generation throughout: its model, its fingerprint, its shards.
 * The deadline covers the whole query; past it the picture's analysis fails with `timeout`, while shards that are late
 * are left out of the answer, which then says so.
 */
export class VisualSearch {
  readonly #ports: SearchPorts
  readonly #roster: ReplicaRoster
  readonly #router: QueryRouter
  readonly #quality: VisualSearchParts['quality']
  readonly #options: SearchOptions
  readonly #fanout: ShardFanout
  readonly #stageTimes: StageTimes
  readonly #engagement: VisualSearchParts['engagement']
  readonly #pictures: PictureCache
  readonly #candidates: CandidateCache
  readonly #ranking: CandidateRanking

  constructor({ ports, roster, router, weights, quality, engagement, isCrowded, options }: VisualSearchParts) {
    this.#ports = ports
    this.#roster = roster
    this.#router = router
    this.#quality = quality
    this.#engagement = engagement
    this.#options = options
    const { meter, fanout, stageBudgetMs, cache, featuresTimeoutMs: timeoutMs } = options
    this.#pictures = new PictureCache({ maxBytes: cache.pictureBytes, meter })
    this.#candidates = new CandidateCache({ maxBytes: cache.candidateBytes, meter })
    const rates = new ItemRates({ features: ports.features, timeoutMs, meter, clock: ports.clock })
    this.#ranking = new CandidateRanking(weights, rates)
    this.#fanout = new ShardFanout({ options: fanout, meter, replicas: ports.replicas, isCrowded })
    this.#stageTimes = new StageTimes(meter, stageBudgetMs)
  }

  /** @throws FreshetError `timeout` | `not-ready` | `bad-request` | `item-not-found` | `object-not-found` | image-* | vector-* */
  async search(query: VisualQuery, { signal: client, leftMs }: QueryTurn): Promise<SearchAnswer> {
    const startedAt = performance.now()
    const session = this.#engagement.hashOf(query.wish.session)
    const queryId = this.#engagement.queryId(session)
    const epoch = this.#pin(query.wish, { queryId, subject: routedBy(query.subject) })
    const { generation } = epoch.generation
    const time = new QueryTime(leftMs, client)
    try {
      const answer = await this.#answer(query, { queryId, epoch, startedAt, time })
      client.throwIfAborted()
      const itemIds = answer.results.map(({ itemId }) => itemId)
      this.#engagement.noteShown({ queryId, generation, session, itemIds })
      this.#quality.answered(generation, answer)
      return answer
    } catch (thrown) {
      if (isOurs(thrown) && !client.aborted) this.#quality.failed(generation)
      throw thrown
    } finally {
      time.end()
    }
  }

  async #answer(query: VisualQuery, { queryId, epoch, startedAt, time }: Pinned): Promise<SearchAnswer> {
    const { wish } = query
    const { generation } = epoch
    const probe = await this.#probe(query, epoch, time)
    const fanoutAt = performance.now()
    const { answer, known } = await this.#fanOut(query, { generation, vector: probe.vector, time })
    const rankAt = performance.now()
    const k = wish.k ?? defaultK
    const { found, ranked } = await this.#rank(answer, { generation, wish, k, like: probe.like })
    const endedAt = performance.now()
    const timingMs = {
      ...probe.timingMs,
      fanout: rankAt - fanoutAt,
      rank: endedAt - rankAt,
      total: endedAt - startedAt,
    }
    this.#stageTimes.add(timingMs)
    return {
      queryId,
      objects: probe.objects,
      searched: probe.searched,
      results: ranked.results,
      generation: generation.generation,
      model: generation.model,
      coverage: found.coverage,
      degraded: [...epoch.degraded, ...found.degraded, ...ranked.degraded],
      ...(ranked.rankedBy === undefined ? {} : { rankedBy: ranked.rankedBy }),
      ...(ranked.facets === undefined ? {} : { facets: ranked.facets }),
      cached: { picture: probe.known, candidates: known },
      freshness: { indexAgeMs: found.indexAgeMs, watermarks: decimal(found.watermarks) },
      timingMs,
      ...(wish.explain ? { explain: { shards: found.explanations } } : {}),
    }
  }

  /** The picture is stored too, so that a follow-up search names the blob; null when the store is full. */
  async detect(subject: DetectSubject, wish: DetectQuery, { signal, leftMs }: QueryTurn): Promise<DetectAnswer> {
    const startedAt = performance.now()
    const epoch = this.#pin(wish, { queryId: this.#ports.newId(), subject: 'picture' })
    const { generation, degraded } = epoch
    const time = new QueryTime(leftMs, signal)
    const looking = untilAborted(this.#lookAt(subject, epoch, time.signal), time.signal)
    const { analysed, known, stored } = await looking.finally(() => time.end())
    const { decode, detect } = known ? noAnalysis : analysed.timingMs
    return {
      generation: generation.generation,
      model: generation.model,
      image: {
        blob: stored === null ? null : `blob:${stored}`,
        width: analysed.width,
        height: analysed.height,
      },
      objects: detectedObjects(analysed.objects),
      degraded,
      timingMs: { decode, detect, total: performance.now() - startedAt },
    }
  }

  async #lookAt(subject: DetectSubject, epoch: Epoch, signal: AbortSignal) {
    const picture = 'itemId' in subject ? await this.#itemPicture(subject, epoch.generation) : subject
    const { image, digest } = await resolvePicture(picture, this.#ports, { ...this.#options, signal })
    const [{ analysed, known }, stored] = await Promise.all([
      this.#analyse(epoch, { image, digest, selection: 'none' }, signal),
      digest ?? this.#store(image),
    ])
    return { analysed, known, stored }
  }

  /** What is kept of generations that were retired goes first. */
  #pin(
    { generation, session }: DetectQuery,
    { queryId, subject }: { readonly queryId: string; readonly subject: RoutingWish['subject'] },
  ): Epoch {
    for (const { generation: gone, unusedFingerprint } of this.#router.retired()) {
      this.#candidates.forget(gone)
      if (unusedFingerprint !== null) this.#pictures.forget(unusedFingerprint)
    }
    return this.#router.pin({ generation, seed: session ?? queryId, subject })
  }

  async #probe({ subject }: VisualQuery, epoch: Epoch, time: QueryTime): Promise<Probe> {
    if (subject.kind === 'vector') return vectorProbe(subject, epoch.generation)
    const { signal } = time
    const probe =
      subject.kind === 'picture'
        ? this.#pictureProbe(subject, epoch, signal)
        : this.#itemProbe(subject, epoch.generation)
    return untilAborted(probe, signal)
  }

  async #pictureProbe(
    { picture, selection }: { readonly picture: QueryPicture; readonly selection: QuerySelection },
    epoch: Epoch,
    signal: AbortSignal,
  ): Promise<Probe> {
    const { image, digest } = await resolvePicture(picture, this.#ports, { ...this.#options, signal })
    const { analysed, known } = await this.#analyse(epoch, { image, digest, selection }, signal)
    const { objects, searched, vector } = analysed
    if (!vector || !searched) throw new FreshetError('internal', 'the model gave no vector for a search')
    const timingMs = known ? noAnalysis : analysed.timingMs
    return { vector, objects: detectedObjects(objects), searched, timingMs, like: null, known }
  }

  #analyse({ generation, model }: Epoch, question: Omit<PictureQuestion, 'fingerprint'>, signal: AbortSignal) {
    const { fingerprint } = generation
    if (model === undefined) throw new FreshetError('internal', 'a picture was routed to a model that is not here')
    return this.#pictures.find({ ...question, fingerprint }, signal, runSignal =>
      tracedAnalysis(model, question, runSignal),
    )
  }

  /** The vector as stored: no model run. */
  async #itemProbe(subject: { readonly itemId: ItemId; readonly object: number }, generation: RoutedGeneration) {
    const { itemId, object } = subject
    return askInTurn(this.#ownerOf(itemId, generation), async (replica): Promise<Probe> => {
      const [vector, registers] = await Promise.all([replica.objectVector(itemId, object), replica.registers(itemId)])
      const box = registers.objectList[object]?.box
      if (!registers.searchable) throw new FreshetError('item-not-found', 'the item is not searchable')
      if (!vector || !box) throw new FreshetError('object-not-found', `the item has no object ${object}`)
      return {
        vector,
        objects: detectedObjects(registers.objectList),
        searched: { box, object },
        timingMs: noAnalysis,
        like: registers.snapshot,
        known: false,
      }
    })
  }

  async #itemPicture({ itemId }: { readonly itemId: string }, generation: RoutedGeneration): Promise<QueryPicture> {
    const id = parseItemId(itemId)
    const registers = await askInTurn(this.#ownerOf(id, generation), replica => replica.registers(id))
    const digest = registers.snapshot?.imageDigests[0]
    if (digest === undefined) throw new FreshetError('item-not-found', 'the item is unknown or has no picture yet')
    return { blob: `blob:${digest}` }
  }

  #ownerOf(itemId: ItemId, generation: RoutedGeneration) {
    return this.#roster.owner(generation.generation, partitionOf(itemId, this.#ports.partitions))
  }

  /** What cannot be read is found out here, and its shard left out like one that did not answer. */
  async #rank(answer: FanoutAnswer, request: RankingRequest): Promise<{ found: FanoutAnswer; ranked: RankedAnswer }> {
    try {
      return { found: answer, ranked: await this.#ranking.order(answer.hits, request) }
    } catch (thrown) {
      const found = withoutUnreadable(answer)
      if (found === null) throw thrown
      return { found, ranked: await this.#ranking.order(found.hits, request) }
    }
  }

  /** Who shares a run shares its deadline: it is that of one who came before and asked for the same time. */
  #fanOut(
    query: VisualQuery,
    asked: { readonly generation: RoutedGeneration; readonly vector: Float32Array; readonly time: QueryTime },
  ) {
    const { generation, vector, time } = asked
    const request = shardRequest(query, generation, vector)
    const wanted = CandidateRanking.needsCandidates(query.wish) ? 'candidates' : 'results'
    const routes = this.#roster.shards(generation)
    const { limitMs, client } = time
    return this.#candidates.find({ request, wanted, routes, limitMs }, client, signal =>
      time.limit(signal, limited => this.#fanout.search(routes, request, { signal: limited, wanted })),
    )
  }

  async #store(image: ImageBytes): Promise<ImageDigest | null> {
    if (!('bytes' in image)) return null
    try {
      return (await this.#ports.blobs.put(image.bytes, this.#options.imageMaxBytes)).digest
    } catch (thrown) {
      const { code } = asFreshetError(thrown)
      if (code === 'blob-store-full' || code === 'storage-full') return null
      throw thrown
    }
  }
}

/** A failure that is no fault of the query. */
function isOurs(thrown: unknown): boolean {
  return asFreshetError(thrown).httpStatus >= 500
}

/** An item's vector and a vector that is given need no model here. */
function routedBy(subject: VisualQuery['subject']): RoutingWish['subject'] {
  return subject.kind === 'vector' ? { fingerprint: subject.fingerprint } : subject.kind
}

function shardRequest(query: VisualQuery, generation: RoutedGeneration, vector: Float32Array): ShardSearchRequest {
  const { k, filter, exact, explain, excludeItemId } = query.wish
  return {
    generation: generation.generation,
    fingerprint: generation.fingerprint,
    vector,
    k: k ?? defaultK,
    ...(filter === undefined ? {} : { filter: shardFilter(filter) }),
    ...(exact === undefined ? {} : { exact }),
    ...(explain === undefined ? {} : { explain }),
    ...(excludeItemId === undefined ? {} : { excludeItem: parseItemId(excludeItemId) }),
  }
}

function vectorProbe(
  subject: { readonly vector: readonly number[]; readonly fingerprint: string },
  generation: RoutedGeneration,
): Probe {
  if (subject.fingerprint !== generation.fingerprint)
    throw new FreshetError('fingerprint-mismatch', `the vector is not of generation ${generation.generation}`, {
      details: { field: 'fingerprint', expected: generation.fingerprint },
    })
  const vector = Float32Array.from(subject.vector)
  const refusal = acceptVector(vector, generation.dims)
  if (refusal) throw new FreshetError(refusal.code, `vector: ${refusal.message}`, { details: { field: 'vector' } })
  return { vector, objects: [], searched: { box: null, object: null }, timingMs: noAnalysis, like: null, known: false }
}

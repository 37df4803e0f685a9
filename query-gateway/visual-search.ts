import { acceptVector } from '../schemas/accept-mutation.ts'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { type DetectAnswer, type DetectQuery, defaultK, type SearchAnswer } from '../schemas/http-search.ts'
import { type ImageDigest, type ItemId, parseItemId } from '../schemas/ids.ts'
import type { AnalysedImage, ImageBytes, QuerySelection } from '../schemas/image-analysis.ts'
import { partitionOf } from '../schemas/partition.ts'
import type { ShardSearchRequest } from '../schemas/shard-api.ts'
import { untilAborted } from './deadline.ts'
import type { GatewayOptions } from './gateway-options.ts'
import { chooseGeneration } from './generation-choice.ts'
import { detectedObjects, searchResult } from './item-view.ts'
import type { GatewayPorts, RoutedGeneration } from './ports.ts'
import { type QueryPicture, resolvePicture } from './query-image.ts'
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
}

const noAnalysis = { decode: 0, detect: 0, embed: 0 }

type SearchOptions = Pick<GatewayOptions, 'imageMaxBytes' | 'deadlineMs' | 'fanout' | 'stageBudgetMs' | 'meter'>

/**
 * One query from picture to ranked results, pinned to one generation throughout: its model, its fingerprint, its shards.
 * The deadline covers the whole query; past it the picture's analysis fails with `timeout`, while shards that are late
 * are left out of the answer, which then says so.
 */
export class VisualSearch {
  readonly #ports: GatewayPorts
  readonly #roster: ReplicaRoster
  readonly #options: SearchOptions
  readonly #fanout: ShardFanout
  readonly #stageTimes: StageTimes

  constructor(ports: GatewayPorts, roster: ReplicaRoster, options: SearchOptions) {
    this.#ports = ports
    this.#roster = roster
    this.#options = options
    const { meter, fanout, stageBudgetMs } = options
    this.#fanout = new ShardFanout({ options: fanout, meter, replicas: ports.replicas })
    this.#stageTimes = new StageTimes(meter, stageBudgetMs)
  }

  /** @throws FreshetError `timeout` | `not-ready` | `bad-request` | `item-not-found` | `object-not-found` | image-* | vector-* */
  async search(query: VisualQuery, clientSignal: AbortSignal): Promise<SearchAnswer> {
    const startedAt = performance.now()
    const queryId = this.#ports.newId()
    const { wish } = query
    const generation = this.#choose(wish, queryId)
    const signal = this.#deadline(wish.deadlineMs, clientSignal)
    const probe = await untilAborted(this.#probe(query, generation, signal), signal)
    const fanoutAt = performance.now()
    const found = await this.#fanOut(generation, shardRequest(query, generation, probe.vector), signal)
    const rankAt = performance.now()
    const results = found.hits.map(hit => searchResult(hit, wish.explain === true))
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
      results,
      generation: generation.generation,
      model: generation.model,
      coverage: found.coverage,
      degraded: found.degraded,
      freshness: { indexAgeMs: found.indexAgeMs, watermarks: decimal(found.watermarks) },
      timingMs,
      ...(wish.explain ? { explain: { shards: found.explanations } } : {}),
    }
  }

  /** The picture is stored too, so that a follow-up search names the blob; null when the store is full. */
  async detect(subject: DetectSubject, wish: DetectQuery, clientSignal: AbortSignal): Promise<DetectAnswer> {
    const startedAt = performance.now()
    const generation = this.#choose(wish, this.#ports.newId())
    const signal = this.#deadline(wish.deadlineMs, clientSignal)
    const { analysed, stored } = await untilAborted(this.#lookAt(subject, generation, signal), signal)
    const { decode, detect } = analysed.timingMs
    return {
      generation: generation.generation,
      model: generation.model,
      image: {
        blob: stored === null ? null : `blob:${stored}`,
        width: analysed.width,
        height: analysed.height,
      },
      objects: detectedObjects(analysed.objects),
      timingMs: { decode, detect, total: performance.now() - startedAt },
    }
  }

  async #lookAt(subject: DetectSubject, generation: RoutedGeneration, signal: AbortSignal) {
    const picture = 'itemId' in subject ? await this.#itemPicture(subject, generation) : subject
    const { image, digest } = await resolvePicture(picture, this.#ports, { ...this.#options, signal })
    const [analysed, stored] = await Promise.all([
      this.#analyse(generation, image, 'none', signal),
      digest ?? this.#store(image),
    ])
    return { analysed, stored }
  }

  #choose(wish: DetectQuery, queryId: string): RoutedGeneration {
    return chooseGeneration(this.#ports.routing(), { generation: wish.generation, seed: wish.session ?? queryId })
  }

  #deadline(deadlineMs: number | undefined, clientSignal: AbortSignal): AbortSignal {
    const limitMs = Math.min(deadlineMs ?? this.#options.deadlineMs, this.#options.deadlineMs)
    return AbortSignal.any([clientSignal, AbortSignal.timeout(limitMs)])
  }

  #probe(query: VisualQuery, generation: RoutedGeneration, signal: AbortSignal): Promise<Probe> {
    const { subject } = query
    switch (subject.kind) {
      case 'picture':
        return this.#pictureProbe(subject.picture, subject.selection, { generation, signal })
      case 'item':
        return this.#itemProbe(subject, generation)
      case 'vector':
        return Promise.resolve(vectorProbe(subject, generation))
    }
  }

  async #pictureProbe(
    picture: QueryPicture,
    selection: QuerySelection,
    { generation, signal }: { readonly generation: RoutedGeneration; readonly signal: AbortSignal },
  ): Promise<Probe> {
    const { image } = await resolvePicture(picture, this.#ports, { ...this.#options, signal })
    const { objects, searched, vector, timingMs } = await this.#analyse(generation, image, selection, signal)
    if (!vector || !searched) throw new FreshetError('internal', 'the model gave no vector for a search')
    return { vector, objects: detectedObjects(objects), searched, timingMs }
  }

  #analyse(generation: RoutedGeneration, image: ImageBytes, selection: QuerySelection, signal: AbortSignal) {
    const model = this.#ports.models(generation.generation)
    return model.analyse(image, selection, signal)
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

  #fanOut(generation: RoutedGeneration, request: ShardSearchRequest, signal: AbortSignal): Promise<FanoutAnswer> {
    return this.#fanout.search(this.#roster.shards(generation), request, { signal, wanted: 'results' })
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
  return { vector, objects: [], searched: { box: null, object: null }, timingMs: noAnalysis }
}

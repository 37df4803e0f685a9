import { FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, Generation } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import { chooseGeneration, mainGeneration } from './generation-choice.ts'
import type { GatewayPorts, RoutedGeneration } from './ports.ts'
import type { WeightsBook } from './ranking/ranking-weights.ts'

/** What one query goes by from its first step to its last. */
export interface Epoch {
  readonly generation: RoutedGeneration
  /** Of that generation; undefined where the query looks at no picture and it is not loaded. */
  readonly model: ImageModel | undefined
  readonly degraded: readonly 'generation-not-held'[]
}

export interface RoutingWish {
  readonly generation: string | undefined
  readonly seed: string
  /** What the query brings: a picture needs the generation's model; a vector is good for generations of its model only. */
  readonly subject: 'picture' | 'item' | { readonly fingerprint: string }
}

export interface RetiredGeneration {
  readonly generation: Generation
  /** Null while another generation has vectors of the same model. */
  readonly unusedFingerprint: Fingerprint | null
}

/** Decides which generation answers a query, once for each, by one look at the routing. */
export class QueryRouter {
  readonly #ports: Pick<GatewayPorts, 'routing' | 'modelOf'>
  readonly #weights: WeightsBook
  #known: readonly RoutedGeneration[] = []

  constructor(ports: Pick<GatewayPorts, 'routing' | 'modelOf'>, weights: WeightsBook) {
    this.#ports = ports
    this.#weights = weights
  }

  /** @throws FreshetError as `chooseGeneration`; `fingerprint-mismatch` when no generation that serves has the vector's model */
  pin({ generation: name, seed, subject }: RoutingWish): Epoch {
    const routing = this.#ports.routing()
    const canAsk = (candidate: RoutedGeneration): boolean =>
      this.#weights.has(candidate) && (subject !== 'picture' || this.#modelFor(candidate) !== undefined)
    const fitting = name === undefined && typeof subject === 'object' ? ofModel(routing, subject) : routing
    const { generation, isMoved } = chooseGeneration(fitting, { generation: name, seed, canAsk })
    const model = this.#modelFor(generation)
    return { generation, model, degraded: isMoved ? ['generation-not-held'] : [] }
  }

  /** The one with the largest share of those whose model this process holds; null when it holds none that has one. */
  heldMain(): RoutedGeneration | null {
    const held = this.#ports.routing().filter(candidate => candidate.share > 0 && this.holds(candidate))
    return held.toSorted((a, b) => b.share - a.share)[0] ?? null
  }

  /** Whether this process can answer all queries of the generation. */
  holds(generation: RoutedGeneration): boolean {
    return this.#modelFor(generation) !== undefined && this.#weights.has(generation)
  }

  /** Generations that were there at the last call and no longer are. */
  retired(): readonly RetiredGeneration[] {
    const before = this.#known
    const now = this.#ports.routing()
    this.#known = now
    return before
      .filter(({ generation }) => !now.some(each => each.generation === generation))
      .map(({ generation, fingerprint }) => {
        const isModelUsed = now.some(each => each.fingerprint === fingerprint)
        return { generation, unusedFingerprint: isModelUsed ? null : fingerprint }
      })
  }

  /** Vectors of another model than the generation's would find anything but what was looked for. */
  #modelFor({ generation, fingerprint }: RoutedGeneration): ImageModel | undefined {
    const model = this.#ports.modelOf(generation)
    return model?.fingerprint === fingerprint ? model : undefined
  }
}

/** @throws FreshetError `fingerprint-mismatch` */
function ofModel(
  routing: readonly RoutedGeneration[],
  { fingerprint }: { readonly fingerprint: string },
): readonly RoutedGeneration[] {
  const serving = routing.filter(({ share }) => share > 0)
  const fitting = serving.filter(candidate => candidate.fingerprint === fingerprint)
  if (fitting.length > 0 || serving.length === 0) return fitting
  const { fingerprint: expected } = mainGeneration(serving)
  throw new FreshetError('fingerprint-mismatch', 'the vector is of the model of no generation that serves', {
    details: {
      field: 'fingerprint',
      expected,
      serving: serving.map(each => ({ generation: each.generation, fingerprint: each.fingerprint })),
    },
  })
}

import { FreshetError } from '../../schemas/errors.ts'
import type { GenerationDetail, GenerationView, ModelList } from '../../schemas/http-generations.ts'
import type { Generation } from '../../schemas/ids.ts'
import type { GenerationDesk, RoutedGeneration } from '../ports.ts'

const refuse = async (): Promise<never> => {
  throw new FreshetError('step-refused', 'this desk takes no steps')
}

/** A desk that knows of generations what routing says, for gateways whose tests are about other things. */
export class RoutedDesk implements GenerationDesk {
  readonly #routing: () => readonly RoutedGeneration[]
  readonly registerModel = refuse
  readonly build = refuse
  readonly pause = refuse
  readonly resume = refuse
  readonly verify = refuse
  readonly canary = refuse
  readonly route = refuse
  readonly rollback = refuse
  readonly retire = refuse
  readonly evidence = refuse

  constructor(routing: () => readonly RoutedGeneration[]) {
    this.#routing = routing
  }

  async list(): Promise<readonly GenerationView[]> {
    return this.#routing().map(viewOf)
  }

  async show(generation: Generation): Promise<GenerationDetail> {
    const found = this.#routing().find(each => each.generation === generation)
    if (!found) throw new FreshetError('not-found', `there is no generation ${generation}`)
    return { ...viewOf(found), history: [] }
  }

  async models(): Promise<ModelList['models']> {
    const byFingerprint = new Map(this.#routing().map(each => [each.fingerprint, each]))
    return Array.from(byFingerprint.values(), ({ model, fingerprint, dims, generation }) => {
      return { model, fingerprint, dims, registeredAtMs: 1, registeredBy: 'serve', generations: [generation] }
    })
  }
}

function viewOf({ generation, model, fingerprint, dims, shards, state, share }: RoutedGeneration): GenerationView {
  return {
    id: generation,
    model,
    fingerprint,
    dims,
    shards,
    state: state as GenerationView['state'],
    share,
    from: null,
    weights: '',
    index: '',
    startedAtMs: 1,
    startedBy: 'serve',
    startedReason: 'first start',
    rebuild: {
      phase: 'running',
      imagesPerSecond: 0,
      done: 0,
      total: 0,
      perSecond: null,
      etaMs: null,
      throttledBy: null,
    },
    items: { searchable: 3, pending: 1, failed: 0 },
    indexAgeMs: 0,
    replicas: { ready: 1, total: 1 },
    certificate: null,
    canary: null,
    routedAtMs: 1,
    retirableAtMs: null,
    steps: [],
  }
}

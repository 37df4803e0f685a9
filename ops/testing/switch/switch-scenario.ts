import type { FreshetClient, ProofProgress } from '../../../schemas/client.ts'
import { FreshetError } from '../../../schemas/errors.ts'
import type { ProofResult } from '../../../schemas/http-generations.ts'
import type { Item } from '../../../schemas/http-items.ts'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import { until } from '../faults/until.ts'
import { MovingCatalogue } from './moving-catalogue.ts'
import { type Answered, Shoppers } from './shoppers.ts'

export interface SwitchScenarioOptions {
  readonly client: FreshetClient
  readonly items: readonly Item[]
  /** Of the new generation. */
  readonly model: string
  readonly random: () => number
  readonly eventsPerSecond: number
  readonly shoppers: number
  /** Between two searches of a shopper. */
  readonly pauseMs: number
  /** See `ShoppersOptions`. */
  readonly mixture: (answer: SearchAnswer, picture: Uint8Array) => string | null
  /** Told what has been done. */
  readonly note: (line: string) => void
  readonly withinMs?: number
  /** How long after a step gateways may still go by the routing before it. */
  readonly heardWithinMs: number
  /** Called while the new generation is built, and again while it has half of the queries: for those who kill. */
  readonly trouble?: (when: 'building' | 'serving') => Promise<void>
}

export interface SwitchOutcome {
  readonly events: number
  readonly answered: readonly Answered[]
  /** Broken promises, in words. */
  readonly problems: readonly string[]
  readonly certificates: readonly ProofResult[]
  readonly canary: ProofResult
}

const old = 'g1'
const young = 'g2'
/** Searches of each shopper between two steps. */
const searchesBetween = 5

/**
 * A change of model as an operator makes it, while events and searches go on: build, prove, canary, 5%, half, all,
 * undo, all again, retire. What must never happen is told in the outcome: a failed search, an answer of two models, a
 * deleted item, an event that a generation has not.
 */
export async function runSwitch(options: SwitchScenarioOptions): Promise<SwitchOutcome> {
  const { client, items, random, eventsPerSecond, shoppers: count, pauseMs, mixture } = options
  const catalogue = new MovingCatalogue({ client, items, random, eventsPerSecond })
  const pictures = items.map(({ images }) => images![0]!)
  const shoppers = new Shoppers({ client, catalogue, pictures, count, pauseMs, mixture })
  await catalogue.publishAll()
  await untilSearchable(options, items.length)
  options.note(`${items.length} items are live`)
  catalogue.start()
  shoppers.start()
  try {
    const scenario = new SwitchScenario(options, shoppers)
    const proofs = await scenario.run()
    await shoppers.stop()
    await catalogue.stop()
    const lost = await differences(options, catalogue)
    const problems = [...catalogue.failures, ...shoppers.failures, ...scenario.problems, ...lost]
    return { events: catalogue.events, answered: shoppers.answered, problems, ...proofs }
  } finally {
    await Promise.all([shoppers.stop(), catalogue.stop()])
  }
}

class SwitchScenario {
  readonly problems: string[] = []
  readonly #options: SwitchScenarioOptions
  readonly #shoppers: Shoppers

  constructor(options: SwitchScenarioOptions, shoppers: Shoppers) {
    this.#options = options
    this.#shoppers = shoppers
  }

  async run(): Promise<Pick<SwitchOutcome, 'certificates' | 'canary'>> {
    const { client, model, note, trouble } = this.#options
    await client.buildGeneration({ model, generation: young, reason: 'the scenario' })
    note(`${young} is being built with ${model}`)
    await trouble?.('building')
    await this.#untilBuilt()
    const certificates = [await this.#verify(young, old)]
    const canary = await this.#proven('canary', client.canaryGeneration(young, { reason: 'the scenario' }))
    await this.#route(0.05)
    await this.#route(0.5)
    await trouble?.('serving')
    certificates.push(await this.#verify(young, old))
    await this.#route(1)
    certificates.push(await this.#verify(old, young))
    await this.#rollback()
    certificates.push(await this.#verify(old, young))
    await this.#route(1)
    certificates.push(await this.#verify(old, young))
    await client.retireGeneration(old, { reason: 'the scenario', force: true })
    note(`${old} is retired`)
    await this.#searched()
    return { certificates, canary }
  }

  async #untilBuilt(): Promise<void> {
    const { client, note, withinMs = 300_000 } = this.#options
    const tookMs = await until(
      `${young} is built`,
      async () => {
        const { rebuild, replicas } = await client.generation(young)
        return rebuild.done >= rebuild.total && replicas.ready === replicas.total && replicas.total > 0
      },
      withinMs,
    )
    note(`${young} has caught up, after ${Math.round(tookMs)} ms`)
  }

  async #verify(generation: string, against: string): Promise<ProofResult> {
    const proof = this.#options.client.verifyGeneration(generation, { against, reason: 'the scenario' })
    return this.#proven(`${generation} against ${against}`, proof)
  }

  async #proven(what: string, lines: AsyncIterable<ProofProgress>): Promise<ProofResult> {
    let result: ProofResult | null = null
    for await (const line of lines) if ('result' in line) result = line.result
    if (result === null) throw new Error(`${what}: no result`)
    this.#options.note(`${what}: ${result.summary}`)
    if (!result.passed) throw new Error(`${what}: ${result.reasons.join('; ')}`)
    return result
  }

  async #route(share: number): Promise<void> {
    const { client, note } = this.#options
    await client.routeGeneration(young, { share, reason: 'the scenario' })
    const changedMs = performance.now()
    note(`${young} has ${share * 100}% of the queries`)
    await this.#searched()
    if (share === 1) this.#requireAll(young, changedMs)
  }

  async #rollback(): Promise<void> {
    const { client, note } = this.#options
    const { tookMs } = await client.rollbackGeneration(young, { reason: 'the scenario' })
    const changedMs = performance.now()
    note(`rolled back to ${old} in ${tookMs.toFixed(1)} ms`)
    await this.#searched()
    this.#requireAll(old, changedMs)
  }

  /** Once they have heard of it all gateways follow. */
  #requireAll(generation: string, changedMs: number): void {
    const heardMs = changedMs + this.#options.heardWithinMs
    const late = this.#shoppers.answered.filter(each => each.atMs > heardMs && each.generation !== generation)
    for (const each of late)
      this.problems.push(`a search was answered by ${each.generation} ${each.atMs - changedMs} ms after the switch`)
  }

  /** Every shopper has searched some more, and for longer than gateways may take to hear of a switch. */
  async #searched(): Promise<void> {
    const { shoppers, heardWithinMs, withinMs = 300_000 } = this.#options
    const goal = this.#shoppers.answered.length + shoppers * searchesBetween
    const beganMs = performance.now()
    const isEnough = () => this.#shoppers.answered.length >= goal && performance.now() - beganMs > heardWithinMs
    await until('people search', isEnough, withinMs)
  }
}

async function untilSearchable({ client, withinMs = 300_000 }: SwitchScenarioOptions, count: number): Promise<void> {
  const isSearchable = async () => {
    const { items } = await client.status()
    return items.searchable >= count && items.pending === 0
  }
  await until(`${count} items are searchable`, isSearchable, withinMs)
}

/** Where the generation that is left differs from what was acknowledged, once everything is applied. */
async function differences(
  { client, items, withinMs = 300_000 }: SwitchScenarioOptions,
  { live }: MovingCatalogue,
): Promise<readonly string[]> {
  await until('everything is applied', async () => (await client.status()).items.pending === 0, withinMs)
  const found: string[] = []
  for (const { itemId } of items) {
    const expected = live.get(itemId)
    const state = await client.item(itemId).catch((thrown: unknown) => {
      if (thrown instanceof FreshetError && thrown.code === 'item-not-found') return null
      throw thrown
    })
    if (state === null && expected !== undefined) found.push(`${itemId} is missing`)
    else if (state !== null && expected === undefined) found.push(`the deleted ${itemId} is there`)
    else if (state !== null && (state.title !== expected!.title || !state.searchable))
      found.push(`${itemId} is "${state.title}", not "${expected!.title}"`)
  }
  return found
}

import { setTimeout as delay } from 'node:timers/promises'
import type { FreshetClient, ProofProgress } from '../../../schemas/client.ts'
import { FreshetError } from '../../../schemas/errors.ts'
import type { ProofResult } from '../../../schemas/http-generations.ts'
import type { Item } from '../../../schemas/http-items.ts'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import { until } from '../faults/until.ts'
import { wasCut } from './gateway-pair.ts'
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
  /**
   * For those who kill: called when the scenario comes to a moment, beside what is done then; it goes on to the next
   * moment when both are over.
   */
  readonly trouble?: (moment: SwitchMoment) => Promise<void>
}

/** What the operator does, or the state that it leads to. */
export const switchMoments = [
  'building',
  'proving',
  'canary',
  '5%',
  '50%',
  '100%',
  'undone',
  'switched again',
  'retiring',
] as const
export type SwitchMoment = (typeof switchMoments)[number]

/** A step of the operator whose answer was lost with the gateway that had it in hand. */
export interface CutStep {
  readonly moment: SwitchMoment
  readonly outcome: 'had happened' | 'asked again'
}

export interface SwitchOutcome {
  readonly events: number
  readonly answered: readonly Answered[]
  /** Broken promises, in words. */
  readonly problems: readonly string[]
  readonly certificates: readonly ProofResult[]
  readonly canary: ProofResult
  readonly cuts: readonly CutStep[]
  /** Steps that were refused, and verdicts that were no, while something that they need was killed; asked again then. */
  readonly refusals: readonly { readonly moment: SwitchMoment; readonly why: string }[]
}

const old = 'g1'
const young = 'g2'
const reason = 'the scenario'
/** Of a certificate: an item that is not the same, whatever was killed meanwhile. */
const differs = /: item |items? (more )?(differ|failed)|more differs/
const askAgainMs = 500
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
    const { cuts, refusals } = scenario
    return { events: catalogue.events, answered: shoppers.answered, problems, cuts, refusals, ...proofs }
  } finally {
    await Promise.all([shoppers.stop(), catalogue.stop()])
  }
}

class SwitchScenario {
  readonly problems: string[] = []
  readonly cuts: CutStep[] = []
  readonly refusals: { readonly moment: SwitchMoment; readonly why: string }[] = []
  readonly #options: SwitchScenarioOptions
  readonly #shoppers: Shoppers
  #moment: SwitchMoment = 'building'
  #isTroubled = false
  /** Who has to answer every search since then; null: more than one may. */
  #expected: { readonly generation: string | null; readonly sinceMs: number } = { generation: old, sinceMs: 0 }

  constructor(options: SwitchScenarioOptions, shoppers: Shoppers) {
    this.#options = options
    this.#shoppers = shoppers
  }

  async run(): Promise<Pick<SwitchOutcome, 'certificates' | 'canary'>> {
    await this.#at('building', () => this.#build())
    const certificates = [await this.#at('proving', () => this.#verify(young, old))]
    const canary = await this.#at('canary', () => this.#canary())
    await this.#at('5%', () => this.#route(0.05))
    await this.#at('50%', async () => {
      await this.#route(0.5)
      certificates.push(await this.#verify(young, old))
    })
    await this.#at('100%', async () => {
      await this.#route(1)
      certificates.push(await this.#verify(old, young))
    })
    await this.#at('undone', async () => {
      await this.#rollback()
      certificates.push(await this.#verify(old, young))
    })
    await this.#at('switched again', async () => {
      await this.#route(1)
      certificates.push(await this.#verify(old, young))
    })
    await this.#at('retiring', () => this.#retire())
    return { certificates, canary }
  }

  /** With what is done to the installation meanwhile; both come to their end, also where one fails. */
  async #at<T>(moment: SwitchMoment, act: () => Promise<T>): Promise<T> {
    this.#moment = moment
    this.#isTroubled = this.#options.trouble !== undefined
    const troubled = this.#options.trouble?.(moment).finally(() => {
      this.#isTroubled = false
    })
    const [acted, trouble] = await Promise.allSettled([act(), troubled])
    if (acted.status === 'rejected') throw acted.reason
    if (trouble.status === 'rejected') throw trouble.reason
    this.#requireShares()
    return acted.value
  }

  async #build(): Promise<void> {
    const { client, model, note, withinMs = 300_000 } = this.#options
    const build = () => client.buildGeneration({ model, generation: young, reason })
    await this.#step(build, async () => (await client.generations()).generations.some(({ id }) => id === young))
    note(`${young} is being built with ${model}`)
    const isBuilt = async () => {
      const { rebuild, replicas } = await client.generation(young)
      return rebuild.done >= rebuild.total && replicas.ready === replicas.total && replicas.total > 0
    }
    const tookMs = await until(`${young} is built`, isBuilt, withinMs)
    note(`${young} has caught up, after ${Math.round(tookMs)} ms`)
  }

  #verify(generation: string, against: string): Promise<ProofResult> {
    const { client } = this.#options
    const prove = () => client.verifyGeneration(generation, { against, reason })
    return this.#proven(`${generation} against ${against}`, prove)
  }

  #canary(): Promise<ProofResult> {
    return this.#proven('canary', () => this.#options.client.canaryGeneration(young, { reason }))
  }

  /** What is found out is recorded at the end or not at all: one that was cut is begun anew. */
  async #proven(what: string, prove: () => AsyncIterable<ProofProgress>): Promise<ProofResult> {
    let found: ProofResult | null = null
    const run = async () => {
      for await (const line of prove()) if ('result' in line) found = line.result
      if (found === null) throw new Error(`${what}: no result`)
    }
    for (;;) {
      const wasTroubled = this.#isTroubled
      await this.#step(run, async () => false)
      const result = found as ProofResult | null
      if (result === null) throw new Error(`${what}: no result`)
      this.#options.note(`${what}: ${result.summary}`)
      if (result.passed) return result
      const differing = result.reasons.filter(each => differs.test(each))
      if (!wasTroubled || differing.length > 0) throw new Error(`${what}: ${result.reasons.join('; ')}`)
      this.refusals.push({ moment: this.#moment, why: `${what}: ${result.summary}` })
    }
  }

  async #route(share: number): Promise<void> {
    const { client, note } = this.#options
    const route = () => client.routeGeneration(young, { share, reason })
    await this.#step(route, () => this.#hasShare(young, share))
    this.#expected = { generation: share === 1 ? young : null, sinceMs: performance.now() }
    note(`${young} has ${share * 100}% of the queries`)
    await this.#searched()
  }

  async #rollback(): Promise<void> {
    const { client, note } = this.#options
    const rollback = async () => {
      const { tookMs } = await client.rollbackGeneration(young, { reason })
      note(`rolled back to ${old} in ${tookMs.toFixed(1)} ms`)
    }
    await this.#step(rollback, () => this.#hasShare(old, 1))
    this.#expected = { generation: old, sinceMs: performance.now() }
    await this.#searched()
  }

  async #retire(): Promise<void> {
    const { client, note } = this.#options
    const retire = () => client.retireGeneration(old, { reason, force: true })
    const isRetired = async () => (await client.generation(old)).state === 'retired'
    await this.#step(retire, isRetired)
    note(`${old} is retired`)
    await this.#searched()
  }

  async #hasShare(generation: string, share: number): Promise<boolean> {
    return (await this.#options.client.generation(generation)).share === share
  }

  /**
   * A step as an operator takes it who is not sure of the answer: where it was lost, or where what the step needs was
   * killed, it has happened or is asked again.
   */
  async #step(ask: () => Promise<unknown>, hasHappened: () => Promise<boolean>): Promise<void> {
    const { withinMs = 300_000 } = this.#options
    const beganMs = performance.now()
    let isDone = false
    for (let wasEverCut = false; !isDone; ) {
      const wasTroubled = this.#isTroubled
      try {
        await ask()
        return
      } catch (thrown) {
        const isCut = wasCut(thrown)
        const isLate = performance.now() - beganMs > withinMs
        // One that was cut may count only after it was looked for: then it is refused as done already.
        isDone = (isCut || wasTroubled || wasEverCut) && (await hasHappened())
        wasEverCut ||= isCut
        if (!isDone && (isLate || !(isCut || (wasTroubled && isRefusal(thrown))))) throw thrown
        if (isCut) this.cuts.push({ moment: this.#moment, outcome: isDone ? 'had happened' : 'asked again' })
        else if (!isDone) {
          this.refusals.push({ moment: this.#moment, why: (thrown as Error).message })
          await delay(askAgainMs)
        }
      }
    }
  }

  /** Once they have heard of it all gateways follow, those that have started since too. */
  #requireShares(): void {
    const { generation, sinceMs } = this.#expected
    if (generation === null) return
    const { heardWithinMs } = this.#options
    const heardMs = sinceMs + heardWithinMs
    const late = this.#shoppers.answered.filter(each => each.atMs > heardMs && each.generation !== generation)
    for (const each of late)
      this.problems.push(`a search was answered by ${each.generation} ${each.atMs - sinceMs} ms after the switch`)
    // Each is told once.
    this.#expected = { generation, sinceMs: performance.now() - heardWithinMs }
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
  { live, receipts }: MovingCatalogue,
): Promise<readonly string[]> {
  await until('everything is applied', async () => (await client.status()).items.pending === 0, withinMs)
  // What was acknowledged last may lie unread in its topic, and is nobody's pending work before.
  for (const [itemId, receipt] of receipts) {
    const isApplied = async () => !['accepted', 'embedded'].includes((await client.receipt(receipt)).status)
    await until(`the last event of ${itemId} is applied`, isApplied, withinMs)
  }
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

/** What a step is told while something that it needs is away, or when it had happened already. */
function isRefusal(thrown: unknown): boolean {
  return thrown instanceof FreshetError && ['step-refused', 'control-conflict', 'not-ready'].includes(thrown.code)
}

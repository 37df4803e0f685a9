import type { ControlRecord } from '../../../schemas/control.ts'
import { asFreshetError, FreshetError } from '../../../schemas/errors.ts'
import type { GenerationView, HistoryEntry } from '../../../schemas/http-generations.ts'
import { asPartition, type Generation, type Offset } from '../../../schemas/ids.ts'
import { controlTopic } from '../../../schemas/topics.ts'
import { ControlLog } from '../../control/control-log.ts'
import type { ControlState, GenerationStatus } from '../../control/control-state.ts'
import { ControlHistory } from './control-history.ts'
import { type Decider, type Decision, type DecisionBase, type Refusal, unknownGeneration } from './decisions.ts'
import type { DeskPorts } from './desk-ports.ts'
import type { DeskFacts, DeskRules } from './generation-lacks.ts'
import { type GenerationLook, lookAt } from './generation-look.ts'
import { generationView } from './generation-view.ts'
import { ProgressSamples } from './progress-samples.ts'
import { askReplicas } from './replica-looks.ts'

const lookEveryMs = 1_000
/** The rate of a rebuild is that of the last minute. */
const samplesKept = 60

/**
 * The control topic as the desk decides on it: what the state is and what the replicas say, one decision at a time
 * appended with the state it was decided on. Of two at once one counts, and the other is told what was done.
 */
export class DecisionLog {
  readonly #ports: DeskPorts
  readonly #rules: DeskRules
  readonly #control: ControlLog
  readonly #history = new ControlHistory()
  readonly #samples = new Map<Generation, ProgressSamples>()
  #timer: NodeJS.Timeout | null = null
  #sampling: Promise<void> | null = null

  constructor(ports: DeskPorts, { undoMaxAgeMs, warmMs }: DeskRules) {
    this.#ports = ports
    this.#rules = { undoMaxAgeMs, warmMs }
    const { log, codec } = ports
    this.#control = new ControlLog({ log, codec, onRecord: told => this.#history.note(told) })
  }

  /** Looks each second how far rebuilds are, so that there is a rate to tell. */
  start(): void {
    this.#timer ??= setInterval(() => this.#sampleOnce(), lookEveryMs)
  }

  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer)
    await this.#sampling
  }

  /** @throws FreshetError codes of the log */
  refresh(): Promise<ControlState> {
    return this.#control.refresh()
  }

  /** What is decided on: the state now, and what the replicas say now; those of a generation to be undone hold nobody up. */
  async base(who: Decider, undone: Generation | null = null): Promise<DecisionBase> {
    const state = await this.#control.refresh()
    return { state, who, facts: await this.#facts(state, undone) }
  }

  /**
   * Appends what was decided. @throws FreshetError what it was refused with; `control-conflict` with what came first
   */
  async settle(decision: Decision): Promise<ControlState> {
    const record = required(decision)
    try {
      return await this.#control.append(record)
    } catch (thrown) {
      throw this.#explained(asFreshetError(thrown), record)
    }
  }

  /** Offset of the record that was decided on a state. */
  offsetOf({ state }: DecisionBase): string {
    return this.#history.decidedAfter(state.lastAccepted)!.offset
  }

  /** In order of their start. */
  async views(): Promise<readonly GenerationView[]> {
    const { state, facts } = await this.base(nobody)
    return Array.from(state.generations.values(), status => this.viewOf(status, { state, facts }))
  }

  /** @throws FreshetError `not-found` */
  async view(generation: Generation): Promise<GenerationView> {
    const { state, facts } = await this.base(nobody)
    const status = state.generations.get(generation)
    if (status === undefined) throw errorOf(unknownGeneration(state, generation))
    return this.viewOf(status, { state, facts })
  }

  /** Newest first, as of the last look. */
  historyOf(generation: Generation, limit: number): readonly HistoryEntry[] {
    return this.#history.of(generation, limit)
  }

  /** As it was recorded; null: no control record of the generation holds it. */
  async evidence(generation: Generation, digest: string): Promise<string | null> {
    await this.#control.refresh()
    const offset = this.#history.evidenceAt(generation, digest)
    return offset === null ? null : this.#recordedEvidence(offset)
  }

  viewOf(
    status: GenerationStatus,
    { state, facts }: { readonly state: ControlState; readonly facts: DeskFacts },
  ): GenerationView {
    const { generation } = status.started
    const isBuilt = status.state !== 'retired' && status.rebuild.phase !== 'caught-up'
    const samples = isBuilt ? this.#samples.get(generation) : undefined
    const progress = facts.looks.get(generation)?.progress
    const rate = {
      perSecond: samples?.perSecond() ?? null,
      etaMs: (progress && samples?.etaMs(progress)) ?? null,
      throttledBy: isBuilt ? this.#ports.throttledBy(generation) : null,
    }
    return generationView(status, { state, facts, rate: isBuilt ? rate : null })
  }

  async #facts(state: ControlState, undone: Generation | null): Promise<DeskFacts> {
    const living = [...state.generations.values()].filter(status => status.state !== 'retired')
    const names = new Set(living.map(({ started }) => started.generation))
    const replicas = await askReplicas(
      this.#ports.replicas().filter(({ generation }) => names.has(generation)),
      undone,
    )
    const looks = living.map(({ started }) => [started.generation, lookAt(started, replicas)] as const)
    return {
      nowMs: this.#ports.clock(),
      rules: this.#rules,
      looks: new Map<Generation, GenerationLook>(looks),
      wereActive: this.#history.wereActive,
    }
  }

  #sampleOnce(): void {
    this.#sampling ??= this.#sample()
      // The log is away: what is asked of the desk meanwhile says so.
      .catch(() => undefined)
      .finally(() => {
        this.#sampling = null
      })
  }

  async #sample(): Promise<void> {
    const state = await this.#control.refresh()
    const built = [...state.generations.values()].filter(
      each => each.state === 'building' && each.rebuild.phase !== 'caught-up',
    )
    for (const generation of this.#samples.keys())
      if (!built.some(({ started }) => started.generation === generation)) this.#samples.delete(generation)
    const names = new Set(built.map(({ started }) => started.generation))
    const replicas = await askReplicas(this.#ports.replicas().filter(({ generation }) => names.has(generation)))
    for (const { started } of built) {
      const samples = this.#samples.get(started.generation) ?? new ProgressSamples(samplesKept)
      this.#samples.set(started.generation, samples)
      samples.add(this.#ports.clock(), lookAt(started, replicas).progress.done)
    }
  }

  /** What the other operator did. */
  #explained(error: FreshetError, { decidedAfter }: ControlRecord): FreshetError {
    if (error.code !== 'control-conflict') return error
    const first = this.#history.since(decidedAfter)
    const told = first.map(({ summary, by, reason }) => `${summary}, by ${by} (${reason})`)
    const message = `another operator was first: ${told.join('; ')}. Nothing was done; look again and decide anew`
    return new FreshetError('control-conflict', message, { cause: error, details: { first } })
  }

  async #recordedEvidence(offset: Offset): Promise<string | null> {
    const { log, codec } = this.#ports
    const partition = asPartition(0)
    const from = new Map([[partition, offset]])
    const reader = await log.openReader({ topic: controlTopic, partitions: [partition], from })
    try {
      for (;;) {
        const [found] = await reader.poll(1, lookEveryMs)
        if (found === undefined) continue
        const record = codec.decode(found.value!)
        return 'evidence' in record ? record.evidence : null
      }
    } finally {
      await reader.close()
    }
  }
}

const nobody: Decider = { by: '', reason: '' }

/** @throws FreshetError the refusal */
export function required<Wanted extends ControlRecord>(decision: Decision<Wanted>): Wanted {
  if ('refused' in decision) throw errorOf(decision.refused)
  return decision.record
}

/** A refusal as it is thrown. */
export function errorOf({ code, message, missing }: Refusal): FreshetError {
  return new FreshetError(code, message, missing.length === 0 ? {} : { details: { missing } })
}

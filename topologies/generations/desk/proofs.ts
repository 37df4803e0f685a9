import { FreshetError } from '../../../schemas/errors.ts'
import type { GenerationStep, ProofRequest, ProofResult } from '../../../schemas/http-generations.ts'
import type { Generation } from '../../../schemas/ids.ts'
import { catalogTopic } from '../../../schemas/topics.ts'
import { canarySummary } from '../canary/canary-gate.ts'
import { type Certificate, certify } from '../certificate.ts'
import { type DecisionLog, errorOf, required } from './decision-log.ts'
import {
  type Decision,
  type DecisionBase,
  decideCanary,
  decideCaughtUp,
  decideCertificate,
  type Proof,
  unknownGeneration,
} from './decisions.ts'
import type { Decided, DeskOptions, DeskPorts, ProofWatch } from './desk-ports.ts'
import { type EvidenceFiles, evidenceDocument } from './evidence-files.ts'
import { counterpartOf } from './generation-lacks.ts'

interface ProofParts {
  readonly ports: DeskPorts
  readonly options: DeskOptions
  readonly decisions: DecisionLog
  readonly evidence: EvidenceFiles
}

/** What was found out, and the whole report it stands on. */
interface Verdict {
  readonly passed: boolean
  readonly reasons: readonly string[]
  readonly summary: string
  readonly measures: ProofResult['measures']
  readonly report: object
}

interface ProofRun {
  readonly step: GenerationStep & ('verify' | 'canary')
  readonly generation: Generation
  readonly request: Decided<ProofRequest>
  readonly watch: ProofWatch
  readonly find: (against: Generation) => Promise<Verdict>
  readonly decide: (base: DecisionBase, proof: Proof) => Decision
}

/**
 * The steps that find something out before they are decided. A verdict that is no is an answer and makes no control
 * record; its evidence is written all the same. What is recorded is decided on the state there is at the end. A run
 * that is given up leaves nothing.
 */
export class Proofs {
  readonly #parts: ProofParts
  /** One at a time of each kind and generation. */
  readonly #running = new Set<string>()

  constructor(parts: ProofParts) {
    this.#parts = parts
  }

  async verify(generation: Generation, request: Decided<ProofRequest>, watch: ProofWatch): Promise<ProofResult> {
    const { decisions } = this.#parts
    const base = await decisions.base(request)
    const caughtUp = decideCaughtUp(base, generation)
    if (caughtUp !== null) await decisions.settle(caughtUp)
    return this.#run({
      step: 'verify',
      generation,
      request,
      watch,
      find: against => this.#certificate(generation, against, watch),
      decide: (now, proof) => decideCertificate(now, generation, proof),
    })
  }

  async canary(generation: Generation, request: Decided<ProofRequest>, watch: ProofWatch): Promise<ProofResult> {
    const proof = { against: generation, evidence: '', digest: '' }
    required(decideCanary(await this.#parts.decisions.base(request), generation, proof))
    return this.#run({
      step: 'canary',
      generation,
      request,
      watch,
      find: against => this.#canary(generation, against, watch),
      decide: (now, evidence) => decideCanary(now, generation, evidence),
    })
  }

  async #run(run: ProofRun): Promise<ProofResult> {
    const { step, generation, watch } = run
    const key = `${step} ${generation}`
    if (this.#running.has(key))
      throw new FreshetError('step-refused', `${generation}: ${step} is under way here already`)
    this.#running.add(key)
    try {
      return await this.#findAndRecord(run)
    } catch (thrown) {
      if (!watch.signal.aborted) throw thrown
      throw new FreshetError('timeout', `${step} of ${generation} was given up: nothing was recorded`, {
        cause: thrown,
      })
    } finally {
      this.#running.delete(key)
    }
  }

  async #findAndRecord({ step, generation, request, watch, find, decide }: ProofRun): Promise<ProofResult> {
    const { decisions, evidence, ports } = this.#parts
    const against = againstOf(await decisions.base(request), generation, request)
    const { report, ...verdict } = await find(against)
    watch.signal.throwIfAborted()
    const { by, reason } = request
    const { passed, reasons, summary, measures } = verdict
    const document = evidenceDocument({
      step,
      generation,
      against,
      atMs: ports.clock(),
      by,
      reason,
      summary,
      ...report,
    })
    await evidence.write(document)
    const { digest, text } = document
    let offset: string | null = null
    if (passed) {
      const now = await decisions.base(request)
      await decisions.settle(decide(now, { against, evidence: text, digest }))
      offset = decisions.offsetOf(now)
    }
    return { passed, reasons, summary, against, digest, offset, measures, generation: await decisions.view(generation) }
  }

  async #certificate(candidate: Generation, reference: Generation, watch: ProofWatch): Promise<Verdict> {
    const { ports, options } = this.#parts
    const { partitions, replicas, log, clock } = ports
    const { allowance, maxCuts, lagTimeoutMs } = options
    const report = await certify({
      reference,
      candidate,
      partitions,
      topicEpoch: ports.topicEpoch(),
      replicas,
      catalogEnds: () => log.offsets(catalogTopic),
      allowance,
      maxCuts,
      lagTimeoutMs,
      clock,
      ...watch,
    })
    const { holds: passed, reasons } = report
    return { passed, reasons, summary: certificateSummary(report), measures: [], report }
  }

  async #canary(candidate: Generation, reference: Generation, watch: ProofWatch): Promise<Verdict> {
    const report = await this.#parts.ports.canary.run({ candidate, reference, ...watch })
    const { passed, reasons, measures } = report
    return { passed, reasons, summary: canarySummary(report), measures, report }
  }
}

/** @throws FreshetError `not-found` | `bad-request` | `step-refused` */
function againstOf({ state, facts }: DecisionBase, generation: Generation, { against }: ProofRequest): Generation {
  const named = (against ?? counterpartOf(state, generation, facts)) as Generation | null
  if (named === null)
    throw new FreshetError('step-refused', `${generation}: there is no other generation to compare with`)
  if (named === generation) throw new FreshetError('bad-request', 'against: name another generation')
  const status = state.generations.get(named)
  if (status === undefined) throw errorOf(unknownGeneration(state, named))
  if (status.state !== 'retired') return named
  throw new FreshetError('step-refused', `generation ${named} is retired: nothing can be compared with it`)
}

function certificateSummary({ holds, reasons, live, candidate, reference, failed }: Certificate): string {
  const [first = 'no reason', ...others] = reasons
  if (!holds) return others.length === 0 ? first : `${first}; and ${others.length} more`
  const lacking =
    failed.onlyCandidate.count === 0 ? '' : `, ${failed.onlyCandidate.count} of them failed in ${candidate} alone`
  return `${live.candidate} items are the same in ${candidate} and ${reference}${lacking}`
}

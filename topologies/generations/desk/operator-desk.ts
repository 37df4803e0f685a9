import { FreshetError } from '../../../schemas/errors.ts'
import type {
  BuildAnswer,
  BuildEstimate,
  BuildRequest,
  GenerationDetail,
  GenerationView,
  ModelList,
  ModelRequest,
  ProofRequest,
  ProofResult,
  RegisteredModel,
  ResumeRequest,
  RetireRequest,
  RollbackRequest,
  RouteRequest,
  StepAnswer,
  StepRequest,
} from '../../../schemas/http-generations.ts'
import type { Generation } from '../../../schemas/ids.ts'
import { catalogTopic } from '../../../schemas/topics.ts'
import type { ControlState } from '../../control/control-state.ts'
import { type EstimateInput, estimateBuild } from './build-estimate.ts'
import { DecisionLog, errorOf, required } from './decision-log.ts'
import {
  type CatalogNow,
  type Decider,
  type Decision,
  type DecisionBase,
  decideModel,
  decidePause,
  decideResume,
  decideRetire,
  decideRollback,
  decideRoute,
  decideStart,
  type KnownModel,
} from './decisions.ts'
import type { Decided, DeskOptions, DeskPorts, ProofWatch } from './desk-ports.ts'
import { EvidenceFiles } from './evidence-files.ts'
import { activeOf } from './generation-lacks.ts'
import type { GenerationLook } from './generation-look.ts'
import { Proofs } from './proofs.ts'

const historyShown = 200

/**
 * What operators do with models and generations. Each step is decided by a pure function on the control state and on
 * what the replicas say. Nothing is tried again by itself.
 *
 * @throws FreshetError `not-found` | `step-refused` | `bad-request` with nothing written; `control-conflict` with what
 * another operator did first; codes of the log, after which the record may count or not
 */
export class OperatorDesk {
  readonly #ports: DeskPorts
  readonly #decisions: DecisionLog
  readonly #evidence: EvidenceFiles
  readonly #proofs: Proofs

  constructor(ports: DeskPorts, options: DeskOptions) {
    this.#ports = ports
    this.#decisions = new DecisionLog(ports, options)
    this.#evidence = new EvidenceFiles(ports.evidenceDirectory)
    this.#proofs = new Proofs({ ports, options, decisions: this.#decisions, evidence: this.#evidence })
  }

  /** Looks each second how far rebuilds are, until it is closed. */
  start(): void {
    this.#decisions.start()
  }

  close(): Promise<void> {
    return this.#decisions.close()
  }

  /** In order of their start, retired ones too. */
  list(): Promise<readonly GenerationView[]> {
    return this.#decisions.views()
  }

  async show(generation: Generation): Promise<GenerationDetail> {
    const view = await this.#decisions.view(generation)
    return { ...view, history: this.#decisions.historyOf(generation, historyShown) }
  }

  async models(): Promise<ModelList['models']> {
    const { models, generations } = await this.#decisions.refresh()
    return Array.from(models.values(), ({ model, fingerprint, dims, atMs, by }) => {
      const own = [...generations.values()].filter(each => each.started.model === model && each.state !== 'retired')
      const names = own.map(({ started }) => started.generation)
      return { model, fingerprint, dims, registeredAtMs: atMs, registeredBy: by, generations: names }
    })
  }

  async registerModel(request: Decided<ModelRequest>): Promise<RegisteredModel> {
    const base = await this.#decisions.base(request)
    const known = await this.#heldModel(request.model)
    const decision = decideModel(base, known)
    if (decision !== null) await this.#decisions.settle(decision)
    const { model, fingerprint, dims } = known
    return { model, fingerprint, dims, isNew: decision !== null }
  }

  /** Its topic is there before its record: whoever reads the record may write to it. The record says all of it: cut short before, nothing is built. */
  async build(request: Decided<BuildRequest>): Promise<BuildAnswer> {
    let base = await this.#decisions.base(request)
    const model = await this.#modelToBuild(base.state, request)
    const registration = decideModel(base, model)
    const foreseen = foreseenBy(base, registration)
    const started = required(decideStart(foreseen, request, await this.#catalogNow()))
    const { generation: id } = started
    this.#ports.checkSettings(started)
    const estimate = await this.#estimate(base, { ...request, generation: id }, model)
    if (request.dryRun) return { id, estimate, generation: null }
    requireDisk(estimate)
    await this.#ports.createTopic(id)
    if (registration !== null) base = { ...base, state: await this.#decisions.settle(registration) }
    const named = { ...request, generation: id }
    await this.#decisions.settle(decideStart(base, named, await this.#catalogNow()))
    return { id, estimate, generation: await this.#decisions.view(id) }
  }

  pause(generation: Generation, request: Decided<StepRequest>): Promise<StepAnswer> {
    return this.#step(generation, request, base => decidePause(base, generation))
  }

  resume(generation: Generation, request: Decided<ResumeRequest>): Promise<StepAnswer> {
    return this.#step(generation, request, base => decideResume(base, generation, request.imagesPerSecond))
  }

  route(generation: Generation, request: Decided<RouteRequest>): Promise<StepAnswer> {
    return this.#step(generation, request, base => decideRoute(base, generation, request))
  }

  rollback(generation: Generation, request: Decided<RollbackRequest>): Promise<StepAnswer> {
    const decide = (base: DecisionBase) => decideRollback(base, generation, request)
    return this.#step(generation, request, decide, generation)
  }

  retire(generation: Generation, request: Decided<RetireRequest>): Promise<StepAnswer> {
    return this.#step(generation, request, base => decideRetire(base, generation, request))
  }

  verify(generation: Generation, request: Decided<ProofRequest>, watch: ProofWatch): Promise<ProofResult> {
    return this.#proofs.verify(generation, request, watch)
  }

  canary(generation: Generation, request: Decided<ProofRequest>, watch: ProofWatch): Promise<ProofResult> {
    return this.#proofs.canary(generation, request, watch)
  }

  /** The text whose SHA-256 is the digest: from the control log, else, of a verdict that was no, from its file. */
  async evidence(generation: Generation, digest: string): Promise<string> {
    const text = (await this.#decisions.evidence(generation, digest)) ?? (await this.#evidence.read(digest))
    if (text !== null) return text
    const { evidenceDirectory } = this.#ports
    const message =
      `no control record of generation ${generation} holds evidence ${digest}, and ${evidenceDirectory} does not ` +
      'have it; that of a verdict that was no is only where the gateway that found it out has written it'
    throw new FreshetError('not-found', message)
  }

  async #step(
    generation: Generation,
    request: Decider,
    decide: (base: DecisionBase) => Decision,
    undone: Generation | null = null,
  ): Promise<StepAnswer> {
    const { clock } = this.#ports
    const beganAtMs = clock()
    const base = await this.#decisions.base(request, undone)
    const state = await this.#decisions.settle(decide(base))
    const tookMs = clock() - beganAtMs
    const serving = [...state.generations].filter(([, { share }]) => share > 0)
    return {
      generation: this.#decisions.viewOf(state.generations.get(generation)!, { state, facts: base.facts }),
      shares: Object.fromEntries(serving.map(([name, { share }]) => [name, share])),
      offset: this.#decisions.offsetOf(base),
      tookMs,
    }
  }

  async #catalogNow(): Promise<CatalogNow> {
    const { log, partitions, topicEpoch } = this.#ports
    return { partitions, ends: await log.offsets(catalogTopic), topicEpoch: topicEpoch() }
  }

  async #heldModel(name: string): Promise<KnownModel> {
    const held = await this.#ports.heldModel(name)
    if (held !== null) return held
    throw new FreshetError('model-invalid', `the model store here has no model ${name}: add it first`)
  }

  /** Registered, or else in the model store; that of the source where objects are copied. */
  async #modelToBuild({ models, generations }: ControlState, { model, from }: BuildRequest): Promise<KnownModel> {
    const source = from === undefined ? undefined : generations.get(from as Generation)?.started.model
    const name = model ?? source
    if (name === undefined) throw new FreshetError('bad-request', 'model: name one, or a generation to copy from')
    return (await this.#ports.heldModel(name)) ?? models.get(name) ?? this.#heldModel(name)
  }

  async #estimate(
    { state, facts }: DecisionBase,
    { from, imagesPerSecond = 0, generation }: BuildRequest,
    model: KnownModel,
  ): Promise<BuildEstimate> {
    const { imageCost, knownShare, diskFreeBytes } = this.#ports
    const active = activeOf(state)
    const look = active === null ? undefined : facts.looks.get(active)
    const isCopied = from !== undefined
    return estimateBuild({
      name: generation!,
      dims: model.dims,
      like: active === null || look === undefined ? null : likeOf(state, active, look),
      cost: isCopied ? null : await imageCost(model.model),
      knownShare: knownShare(model.fingerprint),
      imagesPerSecond,
      diskFreeBytes: await diskFreeBytes(),
    })
  }
}

function likeOf({ generations }: ControlState, generation: Generation, look: GenerationLook): EstimateInput['like'] {
  return { generation, dims: generations.get(generation)!.started.dims, shards: look.freshest }
}

/** As if the model were registered already, so that nothing is written for a generation that is refused. */
function foreseenBy(base: DecisionBase, registration: Decision | null): DecisionBase {
  if (registration === null) return base
  const record = required(registration)
  if (record.type !== 'ModelRegistered') return base
  return { ...base, state: { ...base.state, models: new Map(base.state.models).set(record.model, record) } }
}

function requireDisk({ diskBytes, diskFreeBytes }: BuildEstimate): void {
  if (diskFreeBytes === null || diskFreeBytes >= diskBytes) return
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`
  const missing = [`${megabytes(diskBytes)} of disk, of which ${megabytes(diskFreeBytes)} are free`]
  throw errorOf({ code: 'step-refused', message: `the generation needs ${missing[0]}`, missing })
}

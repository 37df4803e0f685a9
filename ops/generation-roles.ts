import { rm } from 'node:fs/promises'
import type { Meter } from '@opentelemetry/api'
import type { Logger } from 'pino'
import { observeGauges } from '../query-gateway/observed-gauges.ts'
import { replicaViews } from '../query-gateway/system-status.ts'
import type { DeadLetter } from '../schemas/dead-letter.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Generation, ImageDigest } from '../schemas/ids.ts'
import { mutationTopic } from '../schemas/topics.ts'
import type { ShardNode } from '../shard-node/shard-node.ts'
import type { SearchableItem } from '../shard-node/shard-node-options.ts'
import type { ControlState, GenerationStatus } from '../topologies/control/control-state.ts'
import type { RedriveOutcome } from '../topologies/dispatch/dispatch-state.ts'
import type { DispatchRunner, DispatchStatus } from '../topologies/dispatch/runner.ts'
import type { WorkerLoop } from '../workers/worker-loop.ts'
import type { Alarms } from './alarms.ts'
import type { Config } from './config.ts'
import { ensureGeneration } from './first-generation.ts'
import { type ImageRole, modelIdentity } from './image-roles.ts'
import { ModelPools } from './model-pools.ts'
import { requireWanted } from './open-letters.ts'
import { dispatchTableName, newDispatch, newWorkers, openShard, shardDirectory, workDrainMs } from './pipeline-parts.ts'
import { paceAtStart, RebuildThrottle } from './rebuild-throttle.ts'
import { ControlFollower } from './roles/control-follower.ts'
import { dispatchAge, dispatchGauges } from './roles/dispatch-metrics.ts'
import { GenerationParts } from './roles/generation-parts.ts'
import { shardGauges } from './roles/shard-metrics.ts'
import { workerGauges } from './roles/work-metrics.ts'
import type { Storage } from './storage.ts'

export interface GenerationRolesOptions {
  readonly config: Config
  readonly storage: Storage
  readonly images: ImageRole
  readonly alarms: Alarms
  readonly log: Logger
  readonly clock: () => number
  readonly meter: Meter
  readonly onSearchable: (generation: Generation, items: readonly SearchableItem[]) => void
}

/** Shards and dispatcher of one generation. */
export interface EmbeddedGeneration {
  readonly status: GenerationStatus
  readonly shards: readonly ShardNode[]
  readonly dispatch: DispatchRunner
}

/** Dispatchers, shards and models of all generations of this server, and the workers they share, as the control log says. */
export class GenerationRoles {
  readonly #options: GenerationRolesOptions
  readonly #parts: GenerationParts<EmbeddedGeneration>
  readonly models: ModelPools
  readonly workers: WorkerLoop
  readonly throttle: RebuildThrottle
  #control: ControlFollower | null = null

  /**
   * Starts the first generation where none ever had queries. Resolves when those there are run.
   * @throws FreshetError why one that answers queries cannot; storage codes
   */
  static async start(options: GenerationRolesOptions): Promise<GenerationRoles> {
    const { config, storage: ports, clock } = options
    await ensureGeneration({ config, ports, model: () => modelIdentity(config), by: 'serve', clock })
    const roles = new GenerationRoles(options)
    try {
      await roles.#start()
      return roles
    } catch (thrown) {
      await roles.close()
      throw thrown
    }
  }

  private constructor(options: GenerationRolesOptions) {
    this.#options = options
    const { config, storage: ports, images, alarms, log, clock, meter } = options
    this.models = new ModelPools({
      config,
      log,
      onAlarm: error => alarms.raise('models', error),
      clock: () => performance.now(),
    })
    this.#parts = new GenerationParts({
      open: (status, onFailure) => openGeneration(options, status, onFailure),
      close: closeGeneration,
      remove: status => removeGeneration(options, status),
      onFailure: (generation, error) => alarms.raise(`generation ${generation}`, error),
      clock: () => performance.now(),
    })
    this.throttle = new RebuildThrottle({
      state: () => this.state,
      dispatchers: () => this.dispatchers(),
      replicas: () => this.shards(),
      queries: () => this.models.queries,
      onTrouble: error => alarms.raise('pace of rebuilds', error),
      clock: () => performance.now(),
    })
    const modelOf = (generation: Generation) => this.models.modelOf(generation)
    const isRetired = (generation: Generation) => this.state.generations.get(generation)?.state === 'retired'
    this.workers = newWorkers({ config, ports, images, modelOf, isRetired, log, clock, meter })
  }

  async #start(): Promise<void> {
    const { storage: ports, alarms, meter, clock } = this.#options
    this.#control = await ControlFollower.start({
      ports,
      onState: state => this.#adopt(state),
      onTrouble: error => alarms.raise('control', error),
    })
    this.#requireOneThatServes()
    await this.throttle.start()
    this.workers.start()
    const statuses = () => this.dispatchers().map(runner => runner.status())
    observeGauges(meter, [...dispatchGauges, dispatchAge(clock)], statuses)
    observeGauges(meter, workerGauges, () => this.workers.status())
    observeGauges(meter, shardGauges, async () => {
      const nodes = this.shards()
      return { nodes, shards: await replicaViews(nodes) }
    })
  }

  /** What the control log says. */
  get control(): ControlFollower {
    if (this.#control === null) throw new FreshetError('not-ready', 'the control log is not followed yet')
    return this.#control
  }

  get state(): ControlState {
    return this.control.state
  }

  /** Those that run here, in the order of their start. */
  generations(): readonly EmbeddedGeneration[] {
    return this.#parts.all()
  }

  shards(): readonly ShardNode[] {
    return this.generations().flatMap(({ shards }) => shards)
  }

  dispatchers(): readonly DispatchRunner[] {
    return this.generations().map(({ dispatch }) => dispatch)
  }

  /** @throws FreshetError `bad-request` for a letter without a job, or of a retired generation; `not-ready` */
  async redrive(letter: DeadLetter): Promise<RedriveOutcome> {
    requireWanted(letter, this.state)
    const { job } = letter
    // Without a job any dispatcher says what is wrong with it.
    const owner = job === null ? this.generations()[0] : this.#parts.entries().get(job.generation)
    if (owner !== undefined) return owner.dispatch.redrive(letter)
    throw new FreshetError('not-ready', `the dispatcher of generation ${job?.generation ?? ''} does not run`)
  }

  /** Which of these images a live item of any generation, or one on its way, refers to. */
  referenced(digests: readonly ImageDigest[]): ReadonlySet<ImageDigest> {
    // While events are on their way everything counts as referenced: one of them may name any blob.
    const isIdle = this.#parts.isWhole && this.dispatchers().every(runner => hasNothingToDo(runner.status()))
    if (!isIdle) return new Set(digests)
    return new Set(this.shards().flatMap(shard => [...shard.referenced(digests)]))
  }

  /** Null while all goes well: why generations that answer queries can not go on. */
  failure(): FreshetError | null {
    return this.#parts.failure
  }

  /** Drains: no more reading or claiming, jobs handed back, checkpoints written. */
  async close(): Promise<void> {
    await this.throttle.close()
    await this.#control?.close()
    await this.workers.stop(workDrainMs)
    await this.#parts.close()
    await this.models.close()
  }

  async #adopt(state: ControlState): Promise<void> {
    const opened = Promise.all([this.models.adopt(state), this.#parts.adopt(state)])
    // Those that run need not wait for the ones that are opened.
    if (this.#control !== null) this.throttle.apply()
    await opened
  }

  /** A server that cannot answer any query does not start. */
  #requireOneThatServes(): void {
    if (this.#parts.failure !== null) throw this.#parts.failure
    const serving = [...this.state.generations.values()].filter(({ share }) => share > 0)
    const failures = serving.map(({ started }) => this.models.failureOf(started.generation))
    const [first] = failures
    if (first && failures.every(failure => failure !== null)) throw first
  }
}

type OnFailure = (error: FreshetError) => void

async function openGeneration(
  options: GenerationRolesOptions,
  status: GenerationStatus,
  onFailure: OnFailure,
): Promise<EmbeddedGeneration> {
  const { config, storage: ports, clock, log } = options
  const { generation } = status.started
  await ports.ensureMutationTopic(generation)
  const shards = await openShards(options, status, onFailure)
  const dispatch = newDispatch({ config, ports, clock, partitions: 'all', onFailure }, status)
  dispatch.setPace(paceAtStart(status))
  try {
    await dispatch.start()
  } catch (thrown) {
    await Promise.all(shards.map(shard => shard.close()))
    throw thrown
  }
  log.info({ generation, model: status.started.model, shards: shards.length }, 'generation runs')
  return { status, shards, dispatch }
}

async function openShards(
  { config, storage: ports, alarms, clock, meter, onSearchable }: GenerationRolesOptions,
  status: GenerationStatus,
  onFailure: OnFailure,
): Promise<readonly ShardNode[]> {
  const { generation, shards } = status.started
  const { dataDir } = config
  const opened = await Promise.allSettled(
    Array.from({ length: shards }, (_, number) => {
      const reporting = {
        onFailure,
        onAlarm: (error: FreshetError) => alarms.raise(`shard ${generation}-${number}`, error),
        onSearchable: (items: readonly SearchableItem[]) => onSearchable(generation, items),
        meter,
      }
      return openShard({ config, ports, dataDir, clock, number, replica: 'a', ...reporting }, status)
    }),
  )
  const nodes = opened.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = opened.find(result => result.status === 'rejected')
  if (failed === undefined) return nodes
  await Promise.all(nodes.map(node => node.close()))
  throw failed.reason
}

async function closeGeneration({ dispatch, shards }: EmbeddedGeneration): Promise<void> {
  await dispatch.stop()
  await Promise.all(shards.map(shard => shard.close()))
}

/** Frees what a retired generation took. Cut short, it goes on at the next start. */
async function removeGeneration(
  { config, storage, log }: GenerationRolesOptions,
  { started: { generation, shards } }: GenerationStatus,
): Promise<void> {
  const directories = Array.from({ length: shards }, (_, number) => shardDirectory(config.dataDir, generation, number))
  await Promise.all(directories.map(directory => rm(directory, { recursive: true, force: true })))
  await storage.keyValueStore(dispatchTableName(generation)).clear()
  await storage.log.deleteTopic(mutationTopic(generation))
  log.info({ generation }, 'retired generation is removed: its shards, item table and mutations')
}

function hasNothingToDo({ state, partitions }: DispatchStatus): boolean {
  return state === 'running' && partitions.every(({ lagRecords, pendingImages }) => lagRecords + pendingImages === 0)
}

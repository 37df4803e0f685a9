import { setTimeout as delay } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import type { FreshetClient, ProofProgress } from '../../schemas/client.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { BuildRequest, ProofResult, StepAnswer } from '../../schemas/http-generations.ts'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'
import { userName } from './decided-by.ts'
import { buildText, generationPage, generationTable, proofText, rebuildNote, stepText } from './generation-text.ts'
import { type ProgressBar, startProgressBar } from './progress-bar.ts'

interface StepOptions extends ServerOptions {
  readonly reason: string
  readonly by?: string
}

interface BuildOptions extends StepOptions {
  readonly name?: string
  readonly shards?: number
  readonly weights?: string
  readonly index?: string
  readonly rate?: number
  readonly dryRun?: boolean
  readonly watch?: boolean
  readonly from?: string
}

export function generationCommand(context: CommandContext): Command {
  return new Command('generation')
    .summary('a new model or other shards: build, prove, switch, undo')
    .description(
      'Generations: whole indexes beside each other, each built with one model. A new one is built, proven to hold ' +
        'the same, tried, given a share of the queries, and undone in one command where it is worse.',
    )
    .addCommand(listCommand(context))
    .addCommand(showCommand(context))
    .addCommand(buildCommand(context))
    .addCommand(reshardCommand(context))
    .addCommand(pauseCommand(context))
    .addCommand(resumeCommand(context))
    .addCommand(verifyCommand(context))
    .addCommand(canaryCommand(context))
    .addCommand(routeCommand(context))
    .addCommand(rollbackCommand(context))
    .addCommand(retireCommand(context))
}

function listCommand(context: CommandContext): Command {
  const { terminal } = context
  const command = new Command('list').description('Lists the generations, and what may be done with each.')
  return asking(command, 'freshet generation list').action(async (options: ServerOptions) => {
    const answer = await clientFor(context, options).generations()
    const lines = options.json ? [JSON.stringify(answer)] : generationTable(answer.generations, terminal)
    for (const line of lines) terminal.print(line)
  })
}

function showCommand(context: CommandContext): Command {
  const { terminal } = context
  const command = new Command('show')
    .description('Shows a generation: where it is, what it has passed, what it lacks, and who did what to it.')
    .argument('<generation>')
    .option('--evidence <digest>', 'print this evidence instead, as it was recorded')
  return asking(command, 'freshet generation show g2').action(
    async (id: string, options: ServerOptions & { readonly evidence?: string }) => {
      const client = clientFor(context, options)
      if (options.evidence !== undefined) return terminal.print(await client.evidence(id, options.evidence))
      const shown = await client.generation(id)
      const lines = options.json ? [JSON.stringify(shown)] : generationPage(shown, terminal)
      for (const line of lines) terminal.print(line)
    },
  )
}

function buildCommand(context: CommandContext): Command {
  const command = new Command('build')
    .description(
      'Builds a generation with a model beside the others, from the whole catalog. Queries stay where they are.',
    )
    .argument('<model>', 'one that is registered, or in the model store of the server')
    .option('--from <generation>', 'copy the objects of one of the same model instead of embedding again')
  const example =
    'freshet generation build v2 --dry-run --reason "better lamps"\nfreshet generation build v2 --watch --reason "better lamps"'
  return asking(builtWith(command), example).action(async (model: string, options: BuildOptions) =>
    build(context, options, { model, ...(options.from === undefined ? {} : { from: options.from }) }),
  )
}

function reshardCommand(context: CommandContext): Command {
  const command = new Command('reshard')
    .description(
      'Builds a generation of the same model in other shards, or with another index; nothing is embedded again.',
    )
    .argument('<generation>', 'whose objects are copied')
  return asking(builtWith(command), 'freshet generation reshard g1 --shards 8 --reason "more memory"').action(
    async (from: string, options: BuildOptions) => build(context, options, { from }),
  )
}

/** The rebuild without another model: after a repair, or to see that the catalog still gives the same. */
export function replayCommand(context: CommandContext): Command {
  const command = new Command('replay')
    .summary('the whole catalog once more, into a new generation')
    .description(
      "Replays the catalog from its start into a new generation of the active one's model, which is then proven and " +
        'switched to as any other: see `freshet generation`.',
    )
  return asking(builtWith(command), 'freshet replay --watch --reason "after the repair"').action(
    async (options: BuildOptions) => {
      const { generations } = await clientFor(context, options).generations()
      const active = generations.find(({ state }) => state === 'active')
      if (active === undefined) throw new FreshetError('not-ready', 'no generation is active yet')
      return build(context, options, { model: active.model })
    },
  )
}

function builtWith(command: Command): Command {
  return stepping(command)
    .option('--name <generation>', 'its name, never used before; else the next free g<n>')
    .option('--shards <count>', 'else as many as the active one has', wholeNumber)
    .option('--weights <version>', 'version of the ranking weights')
    .option('--index <json>', 'parameters of the index, such as {"segments": "compressed"}')
    .option(
      '--rate <images>',
      'at most so many pictures of the backfill, or objects that are copied, a second',
      positiveNumber,
    )
    .option('--dry-run', 'tell what it would take, and build nothing')
    .option('--watch', 'stay until it has caught up')
}

async function build(
  context: CommandContext,
  options: BuildOptions,
  what: Pick<BuildRequest, 'model' | 'from'>,
): Promise<void> {
  const { terminal } = context
  const client = clientFor(context, options)
  const { name, shards, weights, index, rate, dryRun = false } = options
  const answer = await client.buildGeneration({
    ...what,
    ...decision(context, options),
    ...(name === undefined ? {} : { generation: name }),
    ...(shards === undefined ? {} : { shards }),
    ...(weights === undefined ? {} : { weights }),
    ...(index === undefined ? {} : { index }),
    ...(rate === undefined ? {} : { imagesPerSecond: rate }),
    dryRun,
  })
  for (const line of options.json ? [JSON.stringify(answer)] : buildText(answer)) terminal.print(line)
  if (options.watch && !dryRun) await watchBuild(context, client, answer.id)
}

const lookEveryMs = 1_000

/** Ctrl-C ends the watching, not the building. */
async function watchBuild(context: CommandContext, client: FreshetClient, id: string): Promise<void> {
  const { terminal, interrupted } = context
  let bar: ProgressBar | null = null
  try {
    while (!interrupted.aborted) {
      const view = await client.generation(id)
      const { done, total } = view.rebuild
      bar ??= startProgressBar(terminal, `${id} (offsets)`, Math.max(1, total))
      bar.update(done, rebuildNote(view))
      const isThere = done >= total && view.replicas.total > 0 && view.replicas.ready === view.replicas.total
      if (isThere || view.state === 'retired') return
      await delay(lookEveryMs, undefined, { signal: interrupted }).catch(() => undefined)
    }
  } finally {
    bar?.stop()
  }
}

function pauseCommand(context: CommandContext): Command {
  const command = new Command('pause').description('Pauses a rebuild; live events go on.').argument('<generation>')
  return asking(stepping(command), 'freshet generation pause g2 --reason "sale until noon"').action(
    async (id: string, options: StepOptions) =>
      printStep(context, options, await clientFor(context, options).pauseGeneration(id, decision(context, options))),
  )
}

function resumeCommand(context: CommandContext): Command {
  const command = new Command('resume')
    .description('Goes on with a rebuild that is paused, or changes the rate of one that runs.')
    .argument('<generation>')
    .option(
      '--rate <images>',
      'at most so many pictures, or objects that are copied, a second; 0: no bound',
      positiveNumber,
    )
  return asking(stepping(command), 'freshet generation resume g2 --reason "the sale is over"').action(
    async (id: string, options: StepOptions & { readonly rate?: number }) => {
      const rate = options.rate === undefined ? {} : { imagesPerSecond: options.rate }
      const request = { ...decision(context, options), ...rate }
      printStep(context, options, await clientFor(context, options).resumeGeneration(id, request))
    },
  )
}

interface ProofOptions extends StepOptions {
  readonly against?: string
}

function verifyCommand(context: CommandContext): Command {
  const command = new Command('verify')
    .description(
      'Proves that a generation holds the same live items at the same versions as another, while events go on. Ends ' +
        'with 1 where it does not.',
    )
    .argument('<generation>')
  return asking(proving(command), 'freshet generation verify g2 --reason "before the switch"').action(
    async (id: string, options: ProofOptions) =>
      prove(
        context,
        options,
        clientFor(context, options).verifyGeneration(id, request(context, options), context.interrupted),
      ),
  )
}

function canaryCommand(context: CommandContext): Command {
  const command = new Command('canary')
    .description('Tries a generation with queries whose answers are known. Ends with 1 where a bound is not met.')
    .argument('<generation>')
  return asking(proving(command), 'freshet generation canary g2 --reason "before the switch"').action(
    async (id: string, options: ProofOptions) =>
      prove(
        context,
        options,
        clientFor(context, options).canaryGeneration(id, request(context, options), context.interrupted),
      ),
  )
}

function proving(command: Command): Command {
  return stepping(command).option(
    '--against <generation>',
    'else the active one; for the active one, the one that was active before',
  )
}

function request(context: CommandContext, options: ProofOptions) {
  return { ...decision(context, options), ...(options.against === undefined ? {} : { against: options.against }) }
}

async function prove(
  context: CommandContext,
  options: ProofOptions,
  lines: AsyncIterable<ProofProgress>,
): Promise<void> {
  const { terminal } = context
  const result = await followed(context, lines)
  for (const line of options.json ? [JSON.stringify(result)] : proofText(result, terminal)) terminal.print(line)
  context.exitWith(result.passed ? 0 : 1)
}

/** A bar for each thing that is counted. */
async function followed({ terminal }: CommandContext, lines: AsyncIterable<ProofProgress>): Promise<ProofResult> {
  let bar: ProgressBar | null = null
  let label = ''
  try {
    for await (const line of lines) {
      if ('result' in line) return line.result
      const { what, done, total } = line.progress
      if (bar === null || label !== what) {
        bar?.stop()
        bar = startProgressBar(terminal, what, Math.max(1, total))
        label = what
      }
      bar.update(done)
    }
  } finally {
    bar?.stop()
  }
  throw new FreshetError('not-ready', 'the server ended the run without a result')
}

function routeCommand(context: CommandContext): Command {
  const command = new Command('route')
    .description('Gives a generation a share of the queries; the rest goes to the active one. At once on all gateways.')
    .argument('<generation>')
    .argument('<share>', 'such as 5%, or 0.05; 100% switches')
    .option('--override <why>', 'go without a certificate or a passed canary; kept for ever')
  const example =
    'freshet generation route g2 5% --reason "first look"\nfreshet generation route g2 100% --reason "better in every measure"'
  return asking(stepping(command), example).action(
    async (id: string, share: string, options: StepOptions & { readonly override?: string }) => {
      const override = options.override === undefined ? {} : { override: options.override }
      const routed = { ...decision(context, options), share: shareOf(command, share), ...override }
      printStep(context, options, await clientFor(context, options).routeGeneration(id, routed))
    },
  )
}

function rollbackCommand(context: CommandContext): Command {
  const command = new Command('rollback')
    .description(
      'Gives all queries back to the generation that was active before. Refused where its index is behind, unless it ' +
        'is forced.',
    )
    .argument('[generation]', 'the one to undo; else the one that has queries and is not active, else the active one')
    .option('--to <generation>', 'another one that had queries before')
    .option('--force', 'also to one that is behind; kept for ever')
  return asking(stepping(command), 'freshet generation rollback --reason "fewer clicks"').action(
    async (id: string | undefined, options: StepOptions & { readonly to?: string; readonly force?: boolean }) => {
      const client = clientFor(context, options)
      const { to, force = false } = options
      const undone = { ...decision(context, options), force, ...(to === undefined ? {} : { to }) }
      printStep(context, options, await client.rollbackGeneration(id ?? (await toUndo(client)), undone))
    },
  )
}

async function toUndo(client: FreshetClient): Promise<string> {
  const { generations } = await client.generations()
  const found =
    generations.findLast(({ state }) => state === 'serving') ?? generations.find(({ state }) => state === 'active')
  if (found) return found.id
  throw new FreshetError('step-refused', 'no generation has queries: there is nothing to undo')
}

function retireCommand(context: CommandContext): Command {
  const command = new Command('retire')
    .description('Ends a generation that has no queries, and frees its disk and topic. It cannot be gone back to.')
    .argument('<generation>')
    .option('--force', 'also before its warm time is over; kept for ever')
  return asking(stepping(command), 'freshet generation retire g1 --reason "g2 has been well for a week"').action(
    async (id: string, options: StepOptions & { readonly force?: boolean }) => {
      const retired = { ...decision(context, options), force: options.force ?? false }
      printStep(context, options, await clientFor(context, options).retireGeneration(id, retired))
    },
  )
}

function stepping(command: Command): Command {
  return command
    .requiredOption('--reason <why>', 'kept with the step for ever')
    .option('--by <name>', 'who decides (default: the user of this shell)')
}

function decision(
  context: CommandContext,
  { reason, by }: StepOptions,
): { readonly reason: string; readonly by: string } {
  return { reason, by: by ?? userName(context.environment) }
}

function printStep({ terminal }: CommandContext, options: ServerOptions, answer: StepAnswer): void {
  terminal.print(options.json ? JSON.stringify(answer) : stepText(answer))
}

function shareOf(command: Command, text: string): number {
  const [, number, sign] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text) ?? []
  const share = number === undefined ? Number.NaN : Number(number) / (sign === '%' ? 100 : 1)
  if (share >= 0 && share <= 1) return share
  return command.error(`error: ${text} is no share: give 0% to 100%, or 0 to 1`, { exitCode: 2 })
}

function wholeNumber(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1) return value
  throw new InvalidArgumentError('give a whole number of 1 or more')
}

function positiveNumber(text: string): number {
  const value = Number(text)
  if (text !== '' && value >= 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('give a number of 0 or more')
}

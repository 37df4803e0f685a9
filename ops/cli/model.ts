import { resolve } from 'node:path'
import { Command } from 'commander'
import { asFreshetError } from '../../schemas/errors.ts'
import type { GoldenResult } from '../../workers/golden-check.ts'
import type { VerifiedModel } from '../model-check.ts'
import { answering, type CommandContext, clientFor, listeningUrl } from './command-context.ts'
import { type ConfigFlags, configFrom, configured } from './config-options.ts'
import { userName } from './decided-by.ts'
import { type ProgressBar, startProgressBar } from './progress-bar.ts'
import { renderTable } from './table.ts'

interface ModelOptions extends ConfigFlags {
  readonly json?: boolean
}

interface AddOptions extends ModelOptions {
  readonly name?: string
}

export function modelCommand(context: CommandContext): Command {
  return new Command('model')
    .summary('list, add and check model sets')
    .description(
      'Model sets: detector, preprocessing and embedder under one fingerprint. Some come with Freshet, others are ' +
        'added: any image encoder in ONNX, described by a manifest (workers/FORMAT.md).',
    )
    .addCommand(listCommand(context))
    .addCommand(addCommand(context))
    .addCommand(checkCommand(context))
}

/** Loaded when it is needed: it is native code that other commands do not want. */
async function openStore(context: CommandContext, flags: ConfigFlags) {
  const { openModelStore } = await import('../image-roles.ts')
  return openModelStore(configFrom(context, flags).config)
}

function addCommand(context: CommandContext): Command {
  const command = new Command('add')
    .summary('add a model set from a directory or an address')
    .description(
      'Fetches a model set, verifies its files, runs it against its golden vectors, keeps it, and registers it with the ' +
        'server where one answers. Nothing is kept of one that is not what its manifest says. What broke off while it ' +
        'was fetched goes on with the next call.',
    )
    .argument('<source>', 'a directory with manifest.json, or the http(s) address of a manifest.json')
    .option('--name <set>', 'which set, where the manifest has several')
  const example = 'freshet model add ./clip-vit-b32\nfreshet model add https://models.example/v3/manifest.json'
  return answering(configured(command), example).action(async (source: string, options: AddOptions) => {
    const { terminal, interrupted } = context
    const { addModel } = await import('../../workers/model-addition.ts')
    const { onnxRuntime } = await import('../../workers/onnx-runtime.ts')
    const isUrl = /^https?:/.test(source)
    const progress = new FileBars(context)
    const { set, trial, isNew } = await addModel(await openStore(context, options), onnxRuntime, {
      source: isUrl ? { url: source } : { directory: resolve(context.workingDir, source) },
      name: options.name,
      signal: interrupted,
      onProgress: ({ file, bytes, totalBytes }) => progress.update(file, bytes, totalBytes),
    }).finally(() => progress.stop())
    const { name: model, fingerprint, dims } = set
    const registration = await register(context, options, { model, source })
    if (options.json) {
      const { goldens, norms } = trial
      terminal.print(
        JSON.stringify({ model, fingerprint, dims, isNew, registered: registration === null, goldens, norms }),
      )
      return
    }
    terminal.print(`model ${model} ${isNew ? 'added' : 'was there already'}: ${dims} dimensions, ${fingerprint}`)
    for (const line of goldenLines(model, trial.goldens, terminal.columns)) terminal.print(line)
    if (registration === null)
      terminal.print(`model ${model} is registered: \`freshet generation build ${model}\` builds with it`)
    else terminal.note(`not registered, which the first generation of it does too: ${registration}`)
  })
}

/** How long a server that may not run is waited for. */
const serverMs = 3_000

/** With the server, where one answers; else why not: building a generation does it too. */
async function register(
  context: CommandContext,
  options: AddOptions,
  { model, source }: { readonly model: string; readonly source: string },
): Promise<string | null> {
  const { FRESHET_URL: named = '' } = context.environment
  const url = named === '' ? listeningUrl(configFrom(context, options).config) : named
  try {
    const request = { model, by: userName(context.environment), reason: `added from ${source}` }
    await clientFor(context, { url }).registerModel(request, { attempts: 1, timeoutMs: serverMs })
    return null
  } catch (thrown) {
    return asFreshetError(thrown).message
  }
}

/** A bar in MiB for each file that is fetched. */
class FileBars {
  readonly #context: CommandContext
  #file = ''
  #bar: ProgressBar | null = null

  constructor(context: CommandContext) {
    this.#context = context
  }

  update(file: string, bytes: number, totalBytes: number | null): void {
    const mebibytes = (count: number): number => Math.round(count / 2 ** 20)
    if (file !== this.#file) {
      this.stop()
      this.#file = file
      const total = totalBytes === null ? null : Math.max(1, mebibytes(totalBytes))
      this.#bar = startProgressBar(this.#context.terminal, `${file} (MiB)`, total)
    }
    this.#bar?.update(mebibytes(bytes))
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = null
  }
}

function listCommand(context: CommandContext): Command {
  const { terminal } = context
  const command = new Command('list').description('Lists the model sets, their files verified.')
  return answering(configured(command), 'freshet model list').action(async (options: ModelOptions) => {
    const { verifiedModels } = await import('../model-check.ts')
    const models = await verifiedModels(await openStore(context, options))
    const lines = options.json ? [JSON.stringify({ models })] : modelLines(models, terminal.columns)
    for (const line of lines) terminal.print(line)
  })
}

function modelLines(models: readonly VerifiedModel[], columns: number): readonly string[] {
  return renderTable(
    models,
    [
      { name: 'model', of: row => row.model },
      { name: 'dims', of: row => String(row.dims), align: 'right' },
      { name: 'detector', of: row => row.detector ?? 'none' },
      { name: 'embedder', of: row => row.embedder },
      { name: 'fingerprint', of: row => row.fingerprint, flexible: true },
    ],
    columns,
  )
}

function checkCommand(context: CommandContext): Command {
  const { terminal } = context
  const command = new Command('check')
    .description('Verifies digests and golden vectors: that this machine computes what the manifest says.')
    .argument('[model...]', 'model sets, or directories with a manifest.json; all sets when none is named')
  return answering(configured(command), 'freshet model check v1\nfreshet model check ./clip-vit-b32').action(
    async (names: readonly string[], options: ModelOptions) => {
      const { goldenResults } = await import('../model-check.ts')
      const store = await openStore(context, options)
      for (const name of names.length > 0 ? names : await store.names()) {
        const goldens = await goldenResults(store, name)
        if (options.json) terminal.print(JSON.stringify({ model: name, goldens }))
        else for (const line of goldenLines(name, goldens, terminal.columns)) terminal.print(line)
      }
    },
  )
}

function goldenLines(name: string, goldens: readonly GoldenResult[], columns: number): readonly string[] {
  return [
    `model ${name}: digests fit, ${goldens.length} golden results reproduced`,
    ...renderTable(
      goldens,
      [
        { name: 'part', of: row => row.model },
        { name: 'input', of: row => row.input, flexible: true },
        { name: 'difference', of: row => row.difference.toExponential(1), align: 'right' },
        { name: 'allowed', of: row => row.tolerance.toExponential(1), align: 'right' },
      ],
      columns,
    ),
  ]
}

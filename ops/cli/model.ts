import { Command } from 'commander'
import type { GoldenResult } from '../../workers/golden-check.ts'
import type { VerifiedModel } from '../model-check.ts'
import { answering, type CommandContext } from './command-context.ts'
import { renderTable } from './table.ts'

interface ModelOptions {
  readonly json?: boolean
}

export function modelCommand(context: CommandContext): Command {
  return new Command('model')
    .summary('the model sets that come with Freshet')
    .description('Model sets: detector, preprocessing and embedder under one fingerprint.')
    .addCommand(listCommand(context))
    .addCommand(checkCommand(context))
}

function listCommand({ terminal }: CommandContext): Command {
  const command = new Command('list').description('Lists the model sets, their files verified.')
  return answering(command, 'freshet model list').action(async (options: ModelOptions) => {
    const { verifiedModels } = await import('../model-check.ts')
    const models = await verifiedModels()
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
      { name: 'detector', of: row => row.detector },
      { name: 'embedder', of: row => row.embedder },
      { name: 'fingerprint', of: row => row.fingerprint, flexible: true },
    ],
    columns,
  )
}

function checkCommand({ terminal }: CommandContext): Command {
  const command = new Command('check')
    .description('Verifies digests and golden vectors: that this machine computes what the manifest says.')
    .argument('[model...]', 'model sets; all when none is named')
  return answering(command, 'freshet model check v1').action(
    async (names: readonly string[], options: ModelOptions) => {
      const { goldenResults, verifiedModels } = await import('../model-check.ts')
      for (const name of names.length > 0 ? names : (await verifiedModels()).map(({ model }) => model)) {
        const goldens = await goldenResults(name)
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

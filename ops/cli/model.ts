import { Command } from 'commander'
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
    const columns = [
      { name: 'model', of: (row: (typeof models)[number]) => row.model },
      { name: 'dims', of: (row: (typeof models)[number]) => String(row.dims), align: 'right' as const },
      { name: 'detector', of: (row: (typeof models)[number]) => row.detector },
      { name: 'embedder', of: (row: (typeof models)[number]) => row.embedder },
      { name: 'fingerprint', of: (row: (typeof models)[number]) => row.fingerprint, flexible: true },
    ]
    const lines = options.json ? [JSON.stringify({ models })] : renderTable(models, columns, terminal.columns)
    for (const line of lines) terminal.print(line)
  })
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

type Goldens = Awaited<ReturnType<typeof import('../model-check.ts')['goldenResults']>>

function goldenLines(name: string, goldens: Goldens, columns: number): readonly string[] {
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

import { resolve } from 'node:path'
import { Command } from 'commander'
import type { SnapshotAnswer } from '../../schemas/http-operations.ts'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'
import { startProgressBar } from './progress-bar.ts'

export function snapshotCommand(context: CommandContext): Command {
  const command = new Command('snapshot')
    .summary('write a snapshot of every shard of a running server')
    .description(
      'Has the server write a snapshot of each of its shards while it serves. A replica that starts on a snapshot ' +
        'has what the shard had then, and follows the log from there.',
    )
    .argument('<directory>', "on the server's machine; each shard gets a new directory in it")
  return asking(command, 'freshet snapshot /var/snapshots/freshet-monday').action(
    async (directory: string, options: ServerOptions) => {
      const { terminal } = context
      const answer = await snapshotEach(context, resolve(context.workingDir, directory), options)
      if (options.json) terminal.print(JSON.stringify(answer))
      else for (const shard of answer.shards) terminal.print(sentence(shard))
    },
  )
}

/** One shard after the other, so that there is something to tell in between. */
async function snapshotEach(
  context: CommandContext,
  directory: string,
  options: ServerOptions,
): Promise<SnapshotAnswer> {
  const client = clientFor(context, options)
  const { shards } = await client.status()
  const bar = startProgressBar(context.terminal, 'shards', shards.length)
  const written: SnapshotAnswer['shards'][number][] = []
  try {
    for (const { shard } of shards) {
      written.push(...(await client.snapshot({ directory, shard })).shards)
      bar.update(written.length)
    }
  } finally {
    bar.stop()
  }
  return { directory, shards: written }
}

function sentence({ shard, directory, bytes, tookMs }: SnapshotAnswer['shards'][number]): string {
  return `shard ${shard} in ${directory}: ${(bytes / 2 ** 20).toFixed(1)} MiB in ${(tookMs / 1000).toFixed(1)} s`
}

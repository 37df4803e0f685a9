import { fileURLToPath } from 'node:url'
import { asFreshetError } from '../../schemas/errors.ts'
import type { OnDiskStep } from '../files/disk-steps.ts'
import { ShardFiles } from '../files/shard-files.ts'
import type { BuildReply, BuildRequest } from './build-messages.ts'
import { setBuildPriority, waitingPriority } from './build-priority.ts'
import { buildSegment } from './segment-build.ts'

/**
 * A process that answers one build request of its parent, at the lowest priority unless it is urgent, and ends when the
 * parent lets go of it or dies. Signals end it at once, whatever it does: nothing it leaves is named by a manifest.
 */
export function answerBuild(onStep?: OnDiskStep): void {
  process.once('disconnect', () => process.exit())
  process.once('message', (request: BuildRequest) => void answer(request, onStep))
}

async function answer(request: BuildRequest, onStep?: OnDiskStep): Promise<void> {
  if (!request.isUrgent) await setBuildPriority(process.pid, waitingPriority())
  try {
    const files = new ShardFiles(request.directory, onStep)
    const segment = await buildSegment(files, request, (rows, of) => reply({ type: 'progress', rows, of }))
    reply({ type: 'built', segment })
  } catch (thrown) {
    const { code, message } = asFreshetError(thrown)
    reply({ type: 'failed', code, message })
  }
}

function reply(message: BuildReply): void {
  // A parent that is gone is told by `disconnect`.
  process.send?.(message, () => {})
}

if (process.argv[1] === fileURLToPath(import.meta.url)) answerBuild()

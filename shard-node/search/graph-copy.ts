import { constants, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import { GraphView, isForeignFile } from '../segments/graph-file.ts'
import type { PartView } from '../segments/part.ts'
import type { GraphCopy } from './search-messages.ts'

/**
 * Views a graph. The library opens files with O_NOATIME, which only their owner may: of another user's file a private
 * copy is viewed, which needs no name from then on.
 * @throws FreshetError `checkpoint-corrupt` | `storage-failed`
 */
export function openGraph(
  graph: NonNullable<PartView['graph']>,
  dims: number,
  onCopied: (copy: GraphCopy) => void,
): GraphView {
  const { path, size } = graph
  try {
    return GraphView.open(path, { size, dims })
  } catch (thrown) {
    const error = asFreshetError(thrown)
    if (!isForeignFile(error)) throw error
    const view = viewCopy(path, { size, dims })
    onCopied({ path, reason: error.message })
    return view
  }
}

function viewCopy(path: string, shape: { readonly size: number; readonly dims: number }): GraphView {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-graph-'))
  try {
    const copy = join(directory, 'graph')
    copyFileSync(path, copy, constants.COPYFILE_EXCL)
    return GraphView.open(copy, shape)
  } catch (cause) {
    if (cause instanceof FreshetError) throw cause
    throw new FreshetError('storage-failed', `the graph ${path} cannot be copied`, { cause })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { FreshetError } from '../schemas/errors.ts'
import { asPartition, type ItemId, type Partition } from '../schemas/ids.ts'
import type { SavedItems } from './checkpoint-manifest.ts'
import type { AttributesContent, FailureContent, ItemState, ObjectsContent } from './registers.ts'
import { HashedWriter, readVerified } from './sealed-file.ts'

/** An item as it was at one moment. */
export interface SavedItem {
  readonly ordinal: number
  readonly partition: Partition
  readonly state: ItemState
}

/** One line of an items file (FORMAT.md, "items"). */
type Line = [
  ordinal: number,
  partition: number,
  itemId: string,
  offsets: [attributes: number, objects: number, removal: number, failure: number],
  removedAtMs: number,
  attributes: AttributesContent | null,
  objects: ObjectsContent | null,
  failure: FailureContent | null,
]

/** Items encoded or decoded before the event loop gets its turn: about 2 ms. */
const itemsPerSlice = 256
const newline = 10

/** Writes the items and makes them durable, in slices. */
export async function writeItems(
  path: { readonly directory: string; readonly file: string },
  items: readonly SavedItem[],
): Promise<SavedItems> {
  const handle = await open(join(path.directory, path.file), 'w')
  try {
    const writer = new HashedWriter(handle)
    for (let at = 0; at < items.length; at += itemsPerSlice)
      await writer.write(
        Buffer.from(
          items
            .slice(at, at + itemsPerSlice)
            .map(encodeLine)
            .join(''),
        ),
      )
    await handle.sync()
    return { file: path.file, count: items.length, ...writer.written() }
  } finally {
    await handle.close()
  }
}

/** Calls `visit` with each item, in slices. @throws FreshetError `checkpoint-corrupt`, before the first `visit` when the bytes are not those written */
export async function readItems(directory: string, saved: SavedItems, visit: (item: SavedItem) => void): Promise<void> {
  const content = Buffer.from((await readVerified(directory, saved)).buffer)
  let count = 0
  for (let at = 0; at < content.length; count++) {
    const end = content.indexOf(newline, at)
    visit(decodeLine(content.toString('utf8', at, end)))
    at = end + 1
    if (count % itemsPerSlice === 0) await nextTurn()
  }
  if (count !== saved.count)
    throw new FreshetError('checkpoint-corrupt', `${saved.file} holds ${count} items instead of ${saved.count}`)
}

function encodeLine(item: SavedItem): string {
  const { state } = item
  const line: Line = [
    item.ordinal,
    item.partition,
    state.itemId,
    [state.attributesOffset, state.objectsOffset, state.removalOffset, state.failureOffset],
    state.removedAtMs,
    state.attributes,
    state.objects,
    state.failure,
  ]
  return `${JSON.stringify(line)}\n`
}

function decodeLine(text: string): SavedItem {
  const [ordinal, partition, itemId, offsets, removedAtMs, attributes, objects, failure] = JSON.parse(text) as Line
  const [attributesOffset, objectsOffset, removalOffset, failureOffset] = offsets
  return {
    ordinal,
    partition: asPartition(partition),
    state: {
      itemId: itemId as ItemId,
      attributesOffset,
      objectsOffset,
      removalOffset,
      failureOffset,
      removedAtMs,
      attributes,
      objects,
      failure,
    },
  }
}

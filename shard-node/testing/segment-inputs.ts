import type { ShardFiles } from '../files/shard-files.ts'
import { columnsOf, createRowMemory } from '../kernel/row-memory.ts'
import type { BuildInput } from '../segments/build-messages.ts'
import { writeRows } from '../segments/rows-file.ts'
import { seededRandom } from './seeded-random.ts'
import { subspaceVectors } from './subspace-vectors.ts'

export const inputDims = 32

/** A row as a test expects to find it again. */
export interface InputRow {
  readonly item: number
  readonly object: number
  readonly ordinal: number
  readonly halves: Uint16Array
}

export interface WrittenInputs {
  readonly inputs: readonly BuildInput[]
  /** Rows of all inputs that are to be kept, sorted by item, then object. */
  readonly kept: readonly InputRow[]
}

export interface InputsShape {
  readonly seed: number
  readonly segments: number
  /** Of each segment. */
  readonly rows: number
  readonly items: number
  readonly firstItem?: number
  /** Id of the first segment. */
  readonly firstId?: number
}

/** Log segments of sets of one to three rows; sets that were replaced later are not to be kept. */
export async function writeInputs(
  files: ShardFiles,
  { seed, segments, rows, items, firstItem = 0, firstId = 1 }: InputsShape,
): Promise<WrittenInputs> {
  const random = seededRandom(seed)
  const source = subspaceVectors({ seed, dims: inputDims, clusters: 8, spread: 0.5 })
  const all: InputRow[] = []
  while (all.length < segments * rows) {
    const item = firstItem + Math.floor(random() * items)
    const objects = 1 + Math.floor(random() * 3)
    for (let object = 0; object < objects && all.length < segments * rows; object++)
      all.push({ item, object, ordinal: 1_000 + all.length, halves: halvesOf(source.bytes(item % 8)) })
  }
  const firstOfSet = (row: InputRow): number => row.ordinal - row.object
  const current = new Map(all.map(row => [row.item, firstOfSet(row)]))
  const isKept = (row: InputRow): boolean => current.get(row.item) === firstOfSet(row)
  const inputs: BuildInput[] = []
  for (let segment = 0; segment < segments; segment++)
    inputs.push(
      await writeInput(files, firstId + segment, {
        rows: all.slice(segment * rows, (segment + 1) * rows),
        items: firstItem + items,
        isKept,
      }),
    )
  const kept = all.filter(isKept).sort((a, b) => a.item - b.item || a.object - b.object)
  return { inputs, kept }
}

async function writeInput(
  files: ShardFiles,
  id: number,
  segment: { readonly rows: readonly InputRow[]; readonly items: number; readonly isKept: (row: InputRow) => boolean },
): Promise<BuildInput> {
  const { rows, items, isKept } = segment
  const memory = createRowMemory({ dims: inputDims, capacity: rows.length, items: 32, vectors: true, threads: 1 })
  const columns = columnsOf(memory)
  const keep = new Uint8Array(Math.ceil(rows.length / 8))
  rows.forEach((row, i) => {
    columns.items[i] = row.item
    columns.objects[i] = row.object
    columns.halves.set(row.halves, i * inputDims)
    if (isKept(row)) keep[i >> 3]! |= 1 << (i & 7)
  })
  const mean = new Float32Array(inputDims)
  const source = { order: 'log', rows: rows.length, columns, mean, ordinals: rows[0]!.ordinal, items } as const
  return { rows: await writeRows(files, id, source), graph: null, keep }
}

function halvesOf(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.slice().buffer)
}

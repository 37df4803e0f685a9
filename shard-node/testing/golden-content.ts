import type { Mutation } from '../../schemas/mutation.ts'
import { clusteredVectors } from './clustered-vectors.ts'
import { attributesPut, itemRemoved, objectsPut, type ShardOnLog, workFailed } from './shard-on-log.ts'

export const goldenDims = 8
/** Segments so small that the content fills some of every kind. */
export const goldenTuning = { index: { threads: 1, logRows: 16, graphRows: 32 } } as const
/** Chairs besides the items of which something special is to be said. */
export const goldenChairs = 80

export function axis(at: number): Float32Array {
  return Float32Array.from({ length: goldenDims }, (_, i) => (i === at ? 1 : 0))
}

/** Items of every standing, in segments of every kind: with a graph, frozen and being written. */
export async function fillGolden(shard: ShardOnLog): Promise<void> {
  await shard.append([
    attributesPut('lamp', 1, {
      title: 'Lamp',
      category: 'lamp',
      price: 25.5,
      attributes: { colour: 'red', wood: true },
    }),
    objectsPut('lamp', 1, [axis(0), axis(1)]),
    attributesPut('sofa', 2),
    objectsPut('sofa', 2, [axis(2)]),
    attributesPut('sofa', 3),
    workFailed('sofa', 3),
    attributesPut('gone', 4),
    objectsPut('gone', 4, [axis(3)]),
    itemRemoved('gone', 5),
    objectsPut('early', 6, [axis(4)]),
    attributesPut('pending-😀', 7),
    attributesPut('failed', 8),
    workFailed('failed', 8, true),
    ...chairs(),
  ])
  await shard.watermark(20)
  await shard.node.settled()
  await shard.apply(
    attributesPut('late', 200),
    objectsPut('late', 200, [axis(5)]),
    objectsPut('chair-0', 201, [axis(6)]),
    objectsPut('refused', 202, [new Float32Array(goldenDims).fill(1)]),
  )
}

function chairs(): Mutation[] {
  const vectors = clusteredVectors({ seed: 7, dims: goldenDims, clusters: 4, spread: 0.5 })
  return Array.from({ length: goldenChairs }, (_, i) => [
    attributesPut(`chair-${i}`, 100 + i, { price: i }),
    objectsPut(`chair-${i}`, 100 + i, [vectors.next(i % 4)]),
  ]).flat()
}

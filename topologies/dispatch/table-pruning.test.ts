import { expect, test } from 'vitest'
import { asPartition, type Partition } from '../../schemas/ids.ts'
import { TablePruning } from './table-pruning.ts'

const keepMs = 100

/** Whose discards end when told to. */
function newPruning(partitionCount = 3) {
  const discarded: number[][] = []
  let ending = Promise.withResolvers<void>()
  ending.resolve()
  const table = {
    discard: (partitions: ReadonlySet<Partition>) => {
      discarded.push([...partitions])
      return ending.promise
    },
  }
  const pruning = new TablePruning({ table, partitionCount, keepMs, nowMs: 0 })
  const own = (partitions: readonly number[], nowMs: number) => pruning.own(new Set(partitions.map(asPartition)), nowMs)
  const hold = () => {
    ending = Promise.withResolvers()
    return ending.resolve
  }
  return { pruning, discarded, own, hold }
}

test('what was never this process’s, and what it lost, is forgotten once after a time', async () => {
  const { pruning, discarded, own } = newPruning()
  own([0, 1], 10)
  await pruning.prune(99)
  expect(discarded).toEqual([])
  await pruning.prune(100)
  expect(discarded).toEqual([[2]])
  own([0], 150)
  await pruning.prune(200)
  await pruning.prune(250)
  await pruning.prune(1_000)
  expect(discarded).toEqual([[2], [1]])
})

test('what comes back in time is kept', async () => {
  const { pruning, discarded, own } = newPruning(1)
  own([0], 0)
  own([], 10)
  own([0], 105)
  await pruning.prune(500)
  expect(discarded).toEqual([])
})

test('a partition that comes back while it is forgotten waits, and is forgotten again when it goes once more', async () => {
  const { pruning, discarded, own, hold } = newPruning(1)
  const end = hold()
  const running = pruning.prune(100)
  own([0], 101)
  let isSettled = false
  const settled = pruning.settled().then(() => {
    isSettled = true
  })
  await new Promise(setImmediate)
  expect(isSettled).toBe(false)
  own([], 102)
  end()
  await Promise.all([running, settled])
  await pruning.prune(202)
  expect(discarded).toEqual([[0], [0]])
})

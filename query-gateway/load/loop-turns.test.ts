import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { LoopTurns } from './loop-turns.ts'

/** Pieces of work that take as long as they are said to. */
function opened() {
  let nowMs = 0
  const turns = new LoopTurns({ budgetMs: 1, nowMs: () => nowMs })
  const done: number[] = []
  const work = async (piece: number, tookMs: number): Promise<void> => {
    await turns.mine()
    nowMs += tookMs
    done.push(piece)
  }
  return { turns, done, work }
}

test('long pieces have a turn of the loop each, in order of arrival, the first at once', async () => {
  const { done, work } = opened()
  const pieces = [0, 1, 2, 3].map(piece => work(piece, 2))
  await pieces[0]
  expect(done).toEqual([0])
  for (let turn = 1; turn < pieces.length; turn++) {
    while (done.length < turn + 1) {
      const before = done.length
      await nextTurn()
      expect(done.length - before).toBeLessThanOrEqual(1)
    }
  }
  expect(done).toEqual([0, 1, 2, 3])
})

test('short pieces share a turn until its time is over', async () => {
  const { done, work } = opened()
  const pieces = Array.from({ length: 12 }, (_, piece) => work(piece, 0.25))
  await pieces[0]
  const perTurn: number[] = []
  while (done.length < 12) {
    const before = done.length
    await nextTurn()
    perTurn.push(done.length - before)
  }
  expect(Math.max(...perTurn)).toBe(4)
  expect(done).toEqual([...done].sort((a, b) => a - b))
})

test('once nothing waits, the next piece runs at once again', async () => {
  const { turns, work } = opened()
  await work(0, 5)
  await nextTurn()
  await nextTurn()
  let isMine = false
  void turns.mine().then(() => {
    isMine = true
  })
  await Promise.resolve().then(() => undefined)
  expect(isMine).toBe(true)
})

test('a turn in which a connection came is left to the next ones, but not for ever', async () => {
  const { turns, work } = opened()
  await work(0, 5)
  let turnsWaited = 0
  let isMine = false
  const piece = turns.mine().then(() => {
    isMine = true
  })
  while (!isMine) {
    turns.connected()
    await nextTurn()
    turnsWaited++
  }
  await piece
  expect(turnsWaited).toBeGreaterThan(15)
  expect(turnsWaited).toBeLessThan(30)
})

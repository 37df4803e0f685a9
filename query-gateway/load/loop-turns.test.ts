import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { LoopTurns } from './loop-turns.ts'

test('one piece of work in each turn of the loop, in order of arrival, the first at once', async () => {
  const turns = new LoopTurns()
  const done: number[] = []
  const pieces = [0, 1, 2, 3].map(async piece => {
    await turns.mine()
    done.push(piece)
  })
  await pieces[0]
  expect(done).toEqual([0])
  for (let turn = 1; turn < pieces.length; turn++) {
    await nextTurn()
    expect(done).toHaveLength(turn + 1)
  }
  expect(done).toEqual([0, 1, 2, 3])
})

test('once nothing waits, the next piece runs at once again', async () => {
  const turns = new LoopTurns()
  await turns.mine()
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
  const turns = new LoopTurns()
  await turns.mine()
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

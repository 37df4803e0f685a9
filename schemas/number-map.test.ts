import { array, assert, constant, integer, oneof, property, record } from 'fast-check'
import { expect, test } from 'vitest'
import { NumberMap } from './number-map.ts'

/** Some collide in every table, some are beyond 32 bits. */
const key = oneof(
  integer({ min: 0, max: 40 }),
  integer({ min: 0, max: 20 }).map(n => n * 1_024),
  integer({ min: 0, max: 20 }).map(n => 2 ** 32 + n),
)
const step = record({ key, act: oneof(constant('set'), constant('delete'), constant('get')) })

test('whatever is set and deleted, it holds what a map would', () => {
  const law = property(array(step, { maxLength: 400 }), steps => {
    const map = new NumberMap<number>()
    const model = new Map<number, number>()
    for (const [at, { key, act }] of steps.entries()) {
      if (act === 'set') {
        map.set(key, at)
        model.set(key, at)
      } else if (act === 'delete') expect(map.delete(key)).toBe(model.delete(key))
      expect(map.get(key)).toBe(model.get(key))
      expect(map.has(key)).toBe(model.has(key))
      expect(map.size).toBe(model.size)
    }
    expect(map.values().sort((a, b) => a - b)).toEqual([...model.values()].sort((a, b) => a - b))
    for (const [known, value] of model) expect(map.get(known)).toBe(value)
    map.clear()
    expect(map.size).toBe(0)
    expect(map.values()).toEqual([])
  })
  assert(law, { numRuns: 500 })
})

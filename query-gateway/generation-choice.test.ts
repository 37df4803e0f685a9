import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Generation } from '../schemas/ids.ts'
import { chooseGeneration, mainGeneration } from './generation-choice.ts'
import type { RoutedGeneration } from './ports.ts'
import { generation } from './testing/gateway-fixture.ts'

/** In order of their start, `g1` first; shares in percent. */
const routed = (...percent: readonly number[]): readonly RoutedGeneration[] =>
  percent.map((share, at) => ({ ...generation, generation: `g${at + 1}` as Generation, share: share / 100 }))

const everything = () => true
const choose = (
  routing: readonly RoutedGeneration[],
  seed: string,
  canAsk: (g: RoutedGeneration) => boolean = everything,
) => chooseGeneration(routing, { generation: undefined, seed, canAsk })
const nameOf = (routing: readonly RoutedGeneration[], seed: string) => choose(routing, seed).generation.generation

const seeds = fc.array(fc.uuid(), { minLength: 1, maxLength: 60 })
const percents = fc.integer({ min: 0, max: 100 })

describe('a session', () => {
  test('that is on the new generation stays there while its share grows, and on the old one while that falls to it', () => {
    const growing = fc.array(percents, { minLength: 2, maxLength: 8 }).map(steps => steps.toSorted((a, b) => a - b))
    fc.assert(
      fc.property(growing, seeds, (steps, sessions) => {
        for (const session of sessions) {
          const path = steps.map(share => nameOf(routed(100 - share, share), session))
          expect(path).toEqual(path.toSorted())
        }
      }),
    )
  })

  test('stays on the generation that alone grows, among any number of them', () => {
    const change = fc
      .record({ before: fc.array(percents, { minLength: 2, maxLength: 5 }), grows: fc.nat(4), by: percents })
      .filter(({ before }) => before.some(share => share > 0))
    fc.assert(
      fc.property(change, seeds, ({ before, grows: at, by }, sessions) => {
        const grows = at % before.length
        // The same sum throughout: what it gains the others lose, in order.
        let taken = 0
        const after = before.map((share, each) => {
          if (each === grows) return share
          const part = Math.min(share, by - taken)
          taken += part
          return share - part
        })
        after[grows]! += taken
        for (const session of sessions) {
          const [from, to] = [nameOf(routed(...before), session), nameOf(routed(...after), session)]
          if (from === `g${grows + 1}`) expect(to).toBe(from)
        }
      }),
    )
  })

  test('comes back to the generation it was on, when a change is undone', () => {
    fc.assert(
      fc.property(percents, percents, fc.uuid(), (share, tried, session) => {
        const before = nameOf(routed(100 - share, share), session)
        nameOf(routed(100 - tried, tried), session)
        expect(nameOf(routed(100 - share, share), session)).toBe(before)
      }),
    )
  })

  test('takes no notice of generations without a share', () => {
    fc.assert(
      fc.property(percents, fc.uuid(), (share, session) => {
        const two = nameOf(routed(100 - share, share), session)
        expect(nameOf(routed(100 - share, share, 0, 0), session)).toBe(two)
      }),
    )
  })
})

test('sessions are shared out as the shares say', () => {
  const sessions = Array.from({ length: 20_000 }, (_, at) => `session ${at}`)
  for (const share of [5, 50]) {
    const onNew = sessions.filter(session => nameOf(routed(100 - share, share), session) === 'g2').length
    // Of a fair draw, five standard deviations.
    const deviation = Math.sqrt((share / 100) * (1 - share / 100) * sessions.length)
    expect(Math.abs(onNew - (share / 100) * sessions.length)).toBeLessThan(5 * deviation)
  }
  for (const session of sessions.slice(0, 500)) {
    expect(nameOf(routed(100, 0), session)).toBe('g1')
    expect(nameOf(routed(0, 100), session)).toBe('g2')
  }
})

describe('where the model of a generation is not held', () => {
  const holds =
    (...names: readonly string[]) =>
    (each: RoutedGeneration) =>
      names.includes(each.generation)

  test('its queries alone go elsewhere, to one with a share, and that is told', () => {
    fc.assert(
      fc.property(fc.uuid(), session => {
        const drawn = nameOf(routed(40, 30, 30), session)
        const { generation: chosen, isMoved } = choose(routed(40, 30, 30), session, holds('g1', 'g2'))
        expect([chosen.generation, isMoved]).toEqual(drawn === 'g3' ? ['g1', true] : [drawn, false])
      }),
    )
  })

  test('never to one without a share', () => {
    for (const canAsk of [holds('g1', 'g3'), holds()])
      expect(() => choose(routed(0, 100, 0), 'any', canAsk)).toThrow(expect.objectContaining({ code: 'not-ready' }))
    expect(() => choose(routed(0, 0), 'any')).toThrow(expect.objectContaining({ code: 'not-ready' }))
  })

  test('who names it is refused, so that another gateway is tried', () => {
    const wish = { generation: 'g2', seed: 'any', canAsk: holds('g1') }
    expect(() => chooseGeneration(routed(50, 50), wish)).toThrow(
      expect.objectContaining({ code: 'not-ready', retryable: true }),
    )
  })
})

test('item lookups go to the largest share', () => {
  expect(mainGeneration(routed(30, 70)).generation).toBe('g2')
  expect(mainGeneration(routed(50, 50)).generation).toBe('g1')
  expect(mainGeneration(routed(30, 70), 'g1').generation).toBe('g1')
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { askingOrder, drawsOf, type Standby } from './replica-choice.ts'

/** Numbers in [0, 1), others for each seed: xorshift32. */
function drawnFrom(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

const standby = (replica: string, more: Partial<Standby<string>> = {}): Standby<string> => ({
  replica,
  process: replica,
  isFresh: true,
  admission: 'closed',
  inFlight: 0,
  ...more,
})
const anyStandby = fc.record({
  isFresh: fc.boolean(),
  admission: fc.constantFrom('closed', 'trial', 'open'),
  inFlight: fc.nat(50),
})

test('every replica is in the order once; the well and fresh before the stale, those before the sick', () => {
  fc.assert(
    fc.property(fc.array(anyStandby, { maxLength: 8 }), fc.integer(), fc.boolean(), (drawn, seed, mayTry) => {
      const standbys = drawn.map((each, at) => ({ ...each, replica: at, process: String(at) }))
      const order = askingOrder([...standbys], drawnFrom(seed), mayTry)
      expect([...order].sort()).toEqual(standbys.map(({ replica }) => replica).sort())
      const rank = ({ isFresh, admission }: Standby<number>): number => (admission !== 'closed' ? 2 : isFresh ? 0 : 1)
      const hasTrial = mayTry && order.length > 0 && standbys[order[0]!]!.admission === 'trial'
      const ranks = order.slice(hasTrial ? 1 : 0).map(replica => rank(standbys[replica]!))
      expect(ranks).toEqual([...ranks].sort())
    }),
  )
})

test('the least busy of two is asked first', () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(50), fc.integer(), (a, b, seed) => {
      const standbys = [standby('a', { inFlight: a }), standby('b', { inFlight: b })]
      const [first] = askingOrder(standbys, drawnFrom(seed), true)
      if (a !== b) expect(first).toBe(a < b ? 'a' : 'b')
    }),
  )
})

test('many gateways that know the same do not run to the same replica', () => {
  const firsts = { a: 0, b: 0, c: 0 }
  const random = drawnFrom(1)
  for (let gateway = 0; gateway < 3_000; gateway++) {
    const [first] = askingOrder([standby('a'), standby('b'), standby('c')], random, true)
    firsts[first as 'a' | 'b' | 'c']++
  }
  for (const count of Object.values(firsts)) expect(Math.abs(count - 1_000)).toBeLessThan(150)
})

test('shards that draw alike ask the same process, in whatever order its replicas are known', () => {
  const [a, b, c] = ['a', 'b', 'c'].map(name => standby(name)) as [Standby<string>, Standby<string>, Standby<string>]
  const firsts = { a: 0, b: 0, c: 0 }
  for (let query = 0; query < 3_000; query++) {
    const seed = query / 3_000
    const orders = [
      [a, b, c],
      [c, a, b],
      [b, c, a],
    ].map(known => askingOrder(known, drawsOf(seed), true))
    expect(new Set(orders.map(String)).size).toBe(1)
    firsts[orders[0]![0] as 'a' | 'b' | 'c']++
  }
  for (const count of Object.values(firsts)) expect(Math.abs(count - 1_000)).toBeLessThan(150)
})

test('the busiest of many is not asked first', () => {
  for (let seed = 0; seed < 500; seed++) {
    const standbys = ['a', 'b', 'c', 'd'].map((name, at) => standby(name, { inFlight: at === 2 ? 9 : at }))
    expect(askingOrder(standbys, drawnFrom(seed), true)[0]).not.toBe('c')
  }
})

describe('a sick replica', () => {
  const well = standby('well', { inFlight: 30 })
  const sick = (admission: Standby<string>['admission']) => standby('sick', { admission })

  test('is tried first when it is time, and there is another one to ask', () => {
    expect(askingOrder([well, sick('trial')], () => 0, true)).toEqual(['sick', 'well'])
    expect(askingOrder([well, sick('trial')], () => 0, false)).toEqual(['well', 'sick'])
    expect(askingOrder([well, sick('open')], () => 0, true)).toEqual(['well', 'sick'])
  })

  test('is asked where all are sick', () => {
    expect(askingOrder([sick('open')], () => 0, true)).toEqual(['sick'])
    expect(askingOrder([sick('open'), sick('open')], () => 0, true)).toEqual(['sick', 'sick'])
  })
})

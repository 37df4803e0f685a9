import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ControlRecord, GenerationStarted, ModelRegistered, RoutingChanged } from '../../schemas/control.ts'
import { asOffset, type Fingerprint, type Generation } from '../../schemas/ids.ts'
import { type ControlState, foldControl, initialControlState } from './control-state.ts'

const g1 = 'g1' as Generation
const g2 = 'g2' as Generation
const fingerprint = 'a'.repeat(64) as Fingerprint
const decided = (after: number) => ({ decidedAfter: asOffset(after), by: 'test', atMs: 1, reason: '' })

const model = (after: number): ModelRegistered => ({
  ...decided(after),
  type: 'ModelRegistered',
  model: 'v1',
  fingerprint,
  dims: 256,
  manifest: '{}',
})
const start = (after: number, generation: Generation): GenerationStarted => ({
  ...decided(after),
  type: 'GenerationStarted',
  generation,
  model: 'v1',
  fingerprint,
  dims: 256,
  shards: 1,
  backfillUntil: [],
  topicEpoch: null,
  from: null,
  weights: '',
  index: '',
  imagesPerSecond: 0,
})
const route = (after: number, shares: Record<string, number>, change: Partial<RoutingChanged> = {}): ControlRecord => ({
  ...decided(after),
  type: 'RoutingChanged',
  shares,
  override: '',
  rebuilds: {},
  ...change,
})
const caughtUp = (after: number, generation: Generation, shares: Record<string, number> = { g1: 1 }): ControlRecord =>
  route(after, shares, { rebuilds: { [generation]: { phase: 'caught-up', imagesPerSecond: 0 } } })
const certify = (after: number, generation: Generation, against: Generation): ControlRecord => ({
  ...decided(after),
  type: 'CutoverCertified',
  generation,
  against,
  evidence: '{}',
  digest: '',
})
const canary = (after: number, generation: Generation): ControlRecord => ({
  ...decided(after),
  type: 'CanaryPassed',
  generation,
  evidence: '{"recall":1}',
  digest: '',
})
const retire = (after: number, generation: Generation): ControlRecord => ({
  ...decided(after),
  type: 'GenerationRetired',
  generation,
  override: '',
})

test('a generation has the share that was told of it, whatever its name', () => {
  const name = 'constructor' as Generation
  const { generations } = accepted(model(-1), start(0, g1), start(1, name), route(2, { g1: 1 }))
  expect(generations.get(name)).toMatchObject({ share: 0, state: 'building', rebuild: generations.get(g1)!.rebuild })
})

/** Folds records at offsets 0, 1, …; all have to be accepted. */
function accepted(...records: readonly ControlRecord[]): ControlState {
  return records.reduce<ControlState>((state, record, offset) => {
    const fold = foldControl(state, record, asOffset(offset))
    expect(fold.rejection).toBeNull()
    return fold.state
  }, initialControlState)
}

const twoGenerations = [model(-1), start(0, g1), route(1, { g1: 1 }), start(2, g2)] as const
const proven = [...twoGenerations, caughtUp(3, g2), certify(4, g2, g1), canary(5, g2)] as const

const statesOf = (state: ControlState) =>
  Array.from(state.generations, ([name, { state, share }]) => [name, state, share])

test('a generation goes from building to standby and back', () => {
  const g1Whole = ['g1', 'active', 1]
  expect(statesOf(accepted(...twoGenerations))).toEqual([g1Whole, ['g2', 'building', 0]])
  expect(statesOf(accepted(...proven.slice(0, 5)))).toEqual([g1Whole, ['g2', 'verifying', 0]])
  expect(statesOf(accepted(...proven.slice(0, 6)))).toEqual([g1Whole, ['g2', 'canary', 0]])
  expect(statesOf(accepted(...proven))).toEqual([g1Whole, ['g2', 'canary', 0]])
  const shared = [...proven, route(6, { g1: 0.95, g2: 0.05 })]
  expect(statesOf(accepted(...shared))).toEqual([
    ['g1', 'active', 0.95],
    ['g2', 'serving', 0.05],
  ])
  const switched = [...shared, route(7, { g2: 1 })]
  expect(statesOf(accepted(...switched))).toEqual([
    ['g1', 'standby', 0],
    ['g2', 'active', 1],
  ])
  expect(statesOf(accepted(...switched, route(8, { g1: 1 })))).toEqual([g1Whole, ['g2', 'standby', 0]])
  expect(statesOf(accepted(...switched, route(8, { g1: 0.1, g2: 0.9 })))).toEqual([
    ['g1', 'serving', 0.1],
    ['g2', 'active', 0.9],
  ])
  expect(statesOf(accepted(...switched, retire(8, g1)))).toEqual([
    ['g1', 'retired', 0],
    ['g2', 'active', 1],
  ])
})

test('of two records decided on the same state the first counts', () => {
  const state = accepted(...proven)
  const won = foldControl(state, route(6, { g2: 1 }), asOffset(7))
  expect(won.rejection).toBeNull()
  const lost = foldControl(won.state, route(6, { g1: 1 }), asOffset(8))
  expect(lost).toMatchObject({ rejection: { code: 'control-conflict', offset: 8 } })
  expect(lost.state).toBe(won.state)
  expect(foldControl(lost.state, retire(7, g1), asOffset(9)).rejection).toBeNull()
})

test('evidence stays with its generation', () => {
  expect(accepted(...proven).generations.get(g2)).toMatchObject({
    canary: { evidence: '{"recall":1}' },
    certificate: { against: g1 },
  })
})

test('a rebuild is paused, slowed and resumed, and keeps that when shares change', () => {
  const paused = { phase: 'paused', imagesPerSecond: 7 } as const
  const state = accepted(...twoGenerations, route(3, { g1: 1 }, { rebuilds: { g2: paused } }), route(4, { g1: 1 }))
  expect(state.generations.get(g2)!.rebuild).toEqual(paused)
})

test('who decides when a share is given is remembered, also when the others change', () => {
  const state = accepted(...proven, route(6, { g2: 1 }, { atMs: 70 }), caughtUp(7, g2, { g2: 1 }))
  expect(state.generations.get(g1)!.routedAtMs).toBe(70)
  expect(state.generations.get(g2)!.routedAtMs).toBe(70)
})

test.each([
  ['a used name', start(3, g1)],
  ['an unknown model', { ...start(3, 'g3' as Generation), model: 'v2' }],
  ['vectors of another fingerprint', { ...start(3, 'g3' as Generation), fingerprint: 'b'.repeat(64) as Fingerprint }],
  ['no shards', { ...start(3, 'g3' as Generation), shards: 0 }],
  ['a copy of what is unknown', { ...start(3, 'g3' as Generation), from: 'g9' as Generation }],
  ['a model name for other files', { ...model(3), fingerprint: 'b'.repeat(64) as Fingerprint }],
  ['shares that do not add up', route(3, { g1: 0.5, g2: 0.4 }, { override: 'test' })],
  ['a share below nothing', route(3, { g1: 1.5, g2: -0.5 }, { override: 'test' })],
  ['a share that is no number', route(3, { g1: Number.NaN })],
  ['a share for an unknown generation', route(3, { g9: 1 })],
  ['a rate below nothing', route(3, { g1: 1 }, { rebuilds: { g2: { phase: 'running', imagesPerSecond: -1 } } })],
  ['a pause of what is unknown', route(3, { g1: 1 }, { rebuilds: { g9: { phase: 'paused', imagesPerSecond: 0 } } })],
  ['a certificate against itself', certify(3, g1, g1)],
  ['retiring what is unknown', retire(3, 'g9' as Generation)],
])('%s is refused', (_, record) => {
  const state = accepted(...twoGenerations)
  expect(foldControl(state, record, asOffset(4))).toMatchObject({ state, rejection: { code: 'bad-request' } })
})

test.each([
  ['a certificate while it is building', twoGenerations, certify(3, g2, g1), 'still building'],
  ['a canary without a certificate', proven.slice(0, 5), canary(4, g2), 'no certificate'],
  ['queries without anything', twoGenerations, route(3, { g2: 1 }), 'lacks a certificate and a passed canary'],
  ['queries without a canary', proven.slice(0, 6), route(5, { g1: 0.9, g2: 0.1 }), 'lacks a passed canary'],
  ['retiring what has a share', twoGenerations, retire(3, g1), 'still has a share'],
  [
    'a pause once it has caught up',
    proven,
    route(6, { g1: 1 }, { rebuilds: { g2: { phase: 'paused', imagesPerSecond: 0 } } }),
    'has caught up',
  ],
])('%s is refused with what is missing', (_, before, record, reason) => {
  const state = accepted(...before)
  expect(foldControl(state, record, asOffset(before.length))).toMatchObject({
    state,
    rejection: { code: 'step-refused', reason: expect.stringContaining(reason) },
  })
})

test('what is missing may be passed over by someone who says why', () => {
  const routed = route(3, { g1: 0.9, g2: 0.1 }, { override: 'the probes are being rewritten' })
  expect(statesOf(accepted(...twoGenerations, routed))).toEqual([
    ['g1', 'active', 0.9],
    ['g2', 'serving', 0.1],
  ])
})

test('a retired generation gets no share again', () => {
  const state = accepted(...twoGenerations, retire(3, g2))
  expect(foldControl(state, route(4, { g1: 0.5, g2: 0.5 }), asOffset(5)).rejection?.code).toBe('bad-request')
})

/** Any decisions, each made on the state before it. */
const anyStep = fc.oneof(
  fc.constantFrom(g1, g2).map(name => (after: number) => caughtUp(after, name)),
  fc.constantFrom(g1, g2).map(name => (after: number) => certify(after, name, name === g1 ? g2 : g1)),
  fc.constantFrom(g1, g2).map(name => (after: number) => canary(after, name)),
  fc.constantFrom(g1, g2).map(name => (after: number) => retire(after, name)),
  fc.constantFrom(0, 0.05, 1).map(share => (after: number) => route(after, { g1: 1 - share, g2: share })),
)

test('whatever is decided: a first query comes after the evidence, and one generation or none has them all', () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 40 }), steps => {
      let state = accepted(...twoGenerations)
      let offset = 4
      for (const step of steps) {
        state = foldControl(state, step(state.lastAccepted), asOffset(offset++)).state
        const all = [...state.generations.values()]
        expect(all.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1)
        expect(all.filter(each => each.state === 'active').length).toBeLessThanOrEqual(1)
        for (const { started, state: is, share, certificate, canary } of all) {
          if (started.generation !== g1 && share > 0) expect([certificate, canary]).not.toContain(null)
          if (is === 'retired') expect(share).toBe(0)
        }
      }
    }),
  )
})

import { expect, test } from 'vitest'
import type { ControlRecord, GenerationStarted, ModelRegistered } from '../../schemas/control.ts'
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
})
const route = (after: number, shares: Record<string, number>): ControlRecord => ({
  ...decided(after),
  type: 'RoutingChanged',
  shares,
})
const retire = (after: number, generation: Generation): ControlRecord => ({
  ...decided(after),
  type: 'GenerationRetired',
  generation,
})

/** Folds records at offsets 0, 1, …; all have to be accepted. */
function accepted(...records: readonly ControlRecord[]): ControlState {
  return records.reduce<ControlState>((state, record, offset) => {
    const fold = foldControl(state, record, asOffset(offset))
    expect(fold.rejection).toBeNull()
    return fold.state
  }, initialControlState)
}

const twoGenerations = [model(-1), start(0, g1), route(1, { g1: 1 }), start(3 - 1, g2)] as const

test('shares decide which generations are active; one without a share is being built', () => {
  const states = (state: ControlState) =>
    Array.from(state.generations, ([name, { state, share }]) => [name, state, share])
  expect(states(accepted(...twoGenerations))).toEqual([
    ['g1', 'active', 1],
    ['g2', 'building', 0],
  ])
  expect(states(accepted(...twoGenerations, route(3, { g1: 0.9, g2: 0.1 })))).toEqual([
    ['g1', 'active', 0.9],
    ['g2', 'active', 0.1],
  ])
  expect(states(accepted(...twoGenerations, route(3, { g2: 1 }), retire(4, g1)))).toEqual([
    ['g1', 'retired', 0],
    ['g2', 'active', 1],
  ])
})

test('of two decisions on the same state the first wins, and the second changes nothing', () => {
  const state = accepted(...twoGenerations)
  const won = foldControl(state, route(3, { g2: 1 }), asOffset(4))
  expect(won.rejection).toBeNull()
  const lost = foldControl(won.state, route(3, { g1: 1 }), asOffset(5))
  expect(lost).toMatchObject({ rejection: { code: 'control-conflict', offset: 5 } })
  expect(lost.state).toBe(won.state)
  expect(foldControl(lost.state, retire(4, g1), asOffset(6)).rejection).toBeNull()
})

test('evidence stays with its generation', () => {
  const canary = { ...decided(3), type: 'CanaryPassed', generation: g2, evidence: '{"recall":1}' } as const
  const certificate = { ...decided(4), type: 'CutoverCertified', generation: g2, against: g1, evidence: '{}' } as const
  expect(accepted(...twoGenerations, canary, certificate).generations.get(g2)).toMatchObject({ canary, certificate })
})

test.each<[string, ControlRecord]>([
  ['a used name', start(3, g1)],
  ['an unknown model', { ...start(3, 'g3' as Generation), model: 'v2' }],
  ['vectors of another fingerprint', { ...start(3, 'g3' as Generation), fingerprint: 'b'.repeat(64) as Fingerprint }],
  ['no shards', { ...start(3, 'g3' as Generation), shards: 0 }],
  ['a model name for other files', { ...model(3), fingerprint: 'b'.repeat(64) as Fingerprint }],
  ['shares that do not add up', route(3, { g1: 0.5, g2: 0.4 })],
  ['a share below nothing', route(3, { g1: 1.5, g2: -0.5 })],
  ['a share that is no number', route(3, { g1: Number.NaN })],
  ['a share for an unknown generation', route(3, { g9: 1 })],
  ['retiring what has a share', retire(3, g1)],
  ['retiring what is unknown', retire(3, 'g9' as Generation)],
])('%s is refused', (_, record) => {
  const state = accepted(...twoGenerations)
  expect(foldControl(state, record, asOffset(4))).toMatchObject({ state, rejection: { code: 'bad-request' } })
})

test('a retired generation gets no share again', () => {
  const state = accepted(...twoGenerations, retire(3, g2))
  expect(foldControl(state, route(4, { g1: 0.5, g2: 0.5 }), asOffset(5)).rejection?.code).toBe('bad-request')
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ControlRecord } from '../../../schemas/control.ts'
import { type GenerationStep, generationSteps } from '../../../schemas/http-generations.ts'
import { asOffset, asPartition, type Fingerprint, type Generation, type TopicEpoch } from '../../../schemas/ids.ts'
import { type ControlState, foldControl, initialControlState } from '../../control/control-state.ts'
import {
  type CatalogNow,
  type Decision,
  type DecisionBase,
  decideCanary,
  decideCaughtUp,
  decideCertificate,
  decideModel,
  decidePause,
  decideResume,
  decideRetire,
  decideRollback,
  decideRoute,
  decideStart,
} from './decisions.ts'
import { activeOf, type DeskFacts, lacksOf } from './generation-lacks.ts'
import type { GenerationLook } from './generation-look.ts'

const g1 = 'g1' as Generation
const g2 = 'g2' as Generation
const who = { by: 'operator-1', reason: 'why' }
const rules = { undoMaxAgeMs: 5_000, warmMs: 1_000 }
const manifest = '{}'
const models = {
  v1: { model: 'v1', fingerprint: 'a'.repeat(64) as Fingerprint, dims: 256, manifest },
  v2: { model: 'v2', fingerprint: 'b'.repeat(64) as Fingerprint, dims: 384, manifest },
}
const catalog: CatalogNow = {
  partitions: 4,
  ends: new Map([[asPartition(0), { end: asOffset(10) }]]),
  topicEpoch: '00000000000000aa' as TopicEpoch,
}
const wellLook: GenerationLook = {
  progress: { done: 10, total: 10, behind: [] },
  items: { searchable: 5, pending: 0, failed: 0 },
  indexAgeMs: 0,
  replicas: { ready: 1, total: 1 },
  unready: [],
  freshest: [],
}
const proof = { against: g1, evidence: '{}', digest: 'c'.repeat(64) }

/** A control topic with what was active before; what is decided is folded at once. */
class Scene {
  state: ControlState = initialControlState
  wereActive: Generation[] = []
  nowMs = 0
  readonly looks = new Map<Generation, GenerationLook>()
  #offset = 0

  base(): DecisionBase {
    const { state, nowMs, wereActive } = this
    const looks = new Map(Array.from(state.generations.keys(), name => [name, this.looks.get(name) ?? wellLook]))
    const facts: DeskFacts = { nowMs, rules, looks, wereActive }
    return { state, facts, who }
  }

  /** The rejection, null when the record counted. */
  fold(record: ControlRecord): string | null {
    const { state, rejection } = foldControl(this.state, record, asOffset(this.#offset++))
    this.state = state
    if (state.main !== null) this.wereActive = [...this.wereActive.filter(name => name !== state.main), state.main]
    return rejection?.reason ?? null
  }

  take(decide: (base: DecisionBase) => Decision | null): this {
    const decision = decide(this.base())
    if (decision === null) return this
    if ('refused' in decision) throw new Error(decision.refused.message)
    expect(this.fold(decision.record)).toBeNull()
    return this
  }
}

/** The life of g2 beside g1, as far as the state that is named. */
function sceneOf(name: SceneName): Scene {
  const scene = new Scene()
    .take(base => decideModel(base, models.v1))
    .take(base => decideStart(base, { model: 'v1', reason: 'first' }, catalog))
    .take(base => decideRoute(base, g1, { share: 1, reason: 'first' }))
    .take(base => decideModel(base, models.v2))
    .take(base => decideStart(base, { model: 'v2', reason: 'better' }, catalog))
  const life: readonly (readonly [SceneName, (base: DecisionBase) => Decision | null])[] = [
    ['building', () => null],
    ['paused', base => decidePause(base, g2)],
    ['verifying', base => decideCaughtUp(base, g2)],
    ['certified', base => decideCertificate(base, g2, proof)],
    ['canary', base => decideCanary(base, g2, proof)],
    ['serving', base => decideRoute(base, g2, { share: 0.05, reason: 'try' })],
    ['active', base => decideRoute(base, g2, { share: 1, reason: 'good' })],
    ['undone', base => decideRollback(base, g2, { reason: 'bad' })],
    ['retired', base => decideRetire(base, g2, { reason: 'worse', force: true })],
  ]
  for (const [reached, step] of life) {
    scene.take(step)
    if (reached === name) return scene
  }
  throw new Error(name)
}

const sceneNames = [
  'building',
  'paused',
  'verifying',
  'certified',
  'canary',
  'serving',
  'active',
  'undone',
  'retired',
] as const
type SceneName = (typeof sceneNames)[number]

const allowedOfG2: Readonly<Record<SceneName, readonly GenerationStep[]>> = {
  building: ['pause', 'verify', 'retire'],
  paused: ['resume', 'verify', 'retire'],
  verifying: ['verify', 'retire'],
  certified: ['verify', 'canary', 'retire'],
  canary: ['verify', 'canary', 'route', 'retire'],
  serving: ['verify', 'canary', 'route', 'rollback'],
  active: ['verify', 'canary', 'route', 'rollback'],
  undone: ['verify', 'canary', 'route'],
  retired: [],
}

describe.each(sceneNames)('with g2 %s', name => {
  const scene = sceneOf(name)
  const base = scene.base()
  const status = scene.state.generations.get(g2)!
  const decisions: Readonly<Record<GenerationStep, Decision>> = {
    pause: decidePause(base, g2),
    resume: decideResume(base, g2),
    verify: decideCaughtUp(base, g2) ?? decideCertificate(base, g2, proof),
    canary: decideCanary(base, g2, proof),
    route: decideRoute(base, g2, { share: 0.5, reason: 'why' }),
    rollback: decideRollback(base, g2, { reason: 'why' }),
    retire: decideRetire(base, g2, { reason: 'why' }),
  }

  test.each(generationSteps)('%s is taken, or refused with what is missing', step => {
    const decision = decisions[step]
    const lacks = lacksOf(step, scene.state, { status, facts: base.facts })
    const isAllowed = allowedOfG2[name].includes(step)
    expect(lacks.length === 0).toBe(isAllowed)
    if (isAllowed) {
      expect(decision).toHaveProperty('record')
      if ('record' in decision) expect(scene.state.lastAccepted).toBe(decision.record.decidedAfter)
      return
    }
    expect(decision).toHaveProperty('refused')
    if (!('refused' in decision)) return
    expect(decision.refused.code).toBe('step-refused')
    expect(decision.refused.missing.length).toBeGreaterThan(0)
    for (const missing of decision.refused.missing) expect(decision.refused.message).toContain(missing)
  })
})

const refusalOf = (decision: Decision | null): string =>
  decision !== null && 'refused' in decision ? decision.refused.message : 'taken'
const recordOf = (decision: Decision | null): ControlRecord => {
  if (decision !== null && 'record' in decision) return decision.record
  throw new Error(refusalOf(decision))
}

describe('what is missing is said', () => {
  test('of a rebuild that has not caught up, how far it is and who lags', () => {
    const scene = sceneOf('building')
    const behind = ['replica g2-0-a has 4 of 10 offsets still to pass']
    scene.looks.set(g2, { ...wellLook, progress: { done: 6, total: 10, behind } })
    expect(refusalOf(decideCaughtUp(scene.base(), g2))).toBe(
      'g2: verify needs the rest of the catalog (6 of 10 offsets are passed: replica g2-0-a has 4 of 10 offsets still to pass)',
    )
  })

  test('of queries for one that is not proven; an override is recorded instead', () => {
    const { base } = { base: sceneOf('verifying').base() }
    const request = { share: 0.5, reason: 'why' }
    expect(refusalOf(decideRoute(base, g2, request))).toBe('g2: queries need a certificate and a passed canary')
    const forced = recordOf(decideRoute(base, g2, { ...request, override: 'only a test' }))
    expect(forced).toMatchObject({ shares: { g1: 0.5, g2: 0.5 }, override: 'only a test' })
  })

  test('of a shard that nobody could ask', () => {
    const scene = sceneOf('canary')
    scene.looks.set(g2, { ...wellLook, unready: [1] })
    expect(refusalOf(decideRoute(scene.base(), g2, { share: 1, reason: 'why' }))).toBe(
      'g2: queries need a ready replica of shard 1',
    )
  })

  test('of an undo to a generation that is behind, unless it is forced', () => {
    const scene = sceneOf('active')
    scene.looks.set(g1, { ...wellLook, indexAgeMs: 12_000.4 })
    expect(refusalOf(decideRollback(scene.base(), g2, { reason: 'why' }))).toBe(
      'g2: rollback needs an index of g1 that is at most 5000 ms old: it is 12000 ms old',
    )
    const forced = recordOf(decideRollback(scene.base(), g2, { reason: 'why', force: true }))
    expect(forced).toMatchObject({ shares: { g1: 1 } })
    expect(forced).toHaveProperty('override', expect.stringContaining('forced without an index of g1'))
  })

  test('of an undo to one of which nobody answers', () => {
    const scene = sceneOf('active')
    scene.looks.set(g1, { ...wellLook, indexAgeMs: null })
    expect(refusalOf(decideRollback(scene.base(), g2, { reason: 'why' }))).toContain('a replica of each shard of g1')
  })

  test('of one that is retired before its warm time is over; force is recorded', () => {
    const scene = sceneOf('undone')
    scene.nowMs = 400
    expect(refusalOf(decideRetire(scene.base(), g2, { reason: 'why' }))).toContain('the end of its warm time in 1 min')
    expect(recordOf(decideRetire(scene.base(), g2, { reason: 'why', force: true }))).toHaveProperty(
      'override',
      'forced without the end of its warm time in 1 min',
    )
    scene.nowMs = 1_000
    expect(recordOf(decideRetire(scene.base(), g2, { reason: 'why' }))).toHaveProperty('override', '')
  })

  test('force takes nothing away that has to be there', () => {
    const active = sceneOf('active').base()
    expect(refusalOf(decideRetire(active, g2, { reason: 'why', force: true }))).toContain('100% of the queries')
    expect(refusalOf(decideRollback(active, g1, { reason: 'why', force: true }))).toContain('a share of the queries')
  })

  test('of one whose objects are being copied', () => {
    const scene = sceneOf('active').take(base => decideStart(base, { from: 'g1', shards: 2, reason: 'why' }, catalog))
    scene.nowMs = 5_000
    expect(refusalOf(decideRetire(scene.base(), g1, { reason: 'why', force: true }))).toBe(
      'g1: retire needs the end of the copy of its objects into g3',
    )
  })
})

describe('a rollback goes back to', () => {
  test('the generation that was active before', () => {
    const scene = sceneOf('active')
      .take(base => decideStart(base, { model: 'v2', reason: 'third' }, catalog))
      .take(base => decideRoute(base, 'g3' as Generation, { share: 0.5, override: 'test', reason: 'why' }))
    expect(recordOf(decideRollback(scene.base(), 'g3' as Generation, { reason: 'why' }))).toMatchObject({
      shares: { g2: 1 },
    })
    expect(recordOf(decideRollback(scene.base(), g2, { reason: 'why' }))).toMatchObject({ shares: { g1: 1 } })
  })

  test('the one that is named, if it had queries', () => {
    const scene = sceneOf('active').take(base => decideStart(base, { model: 'v2', reason: 'third' }, catalog))
    expect(recordOf(decideRollback(scene.base(), g2, { to: 'g1', reason: 'why' }))).toMatchObject({ shares: { g1: 1 } })
    expect(refusalOf(decideRollback(scene.base(), g2, { to: 'g3', reason: 'why' }))).toContain('g3 never had')
    expect(refusalOf(decideRollback(scene.base(), g2, { to: 'g9', reason: 'why' }))).toContain('unknown or retired')
    expect(refusalOf(decideRollback(scene.base(), g2, { to: 'g2', reason: 'why' }))).toContain('name another')
  })
})

describe('shares', () => {
  const base = sceneOf('canary').base()
  test.each([
    [{}, 'share: give the share of this generation, or the shares of all'],
    [{ share: 1, shares: { g2: 1 } }, 'share: give the share of this generation, or the shares of all'],
    [{ shares: { g1: 0.5, g2: 0.4 } }, 'shares: they add up to 0.9, not to 1'],
    [{ shares: { g1: 0.5, g9: 0.5 } }, 'shares: g9 is unknown or retired'],
  ])('%j are refused', (request, message) => {
    expect(refusalOf(decideRoute(base, g2, { ...request, reason: 'why' }))).toBe(message)
  })

  test('of a third generation are not taken away unsaid', () => {
    const scene = sceneOf('serving')
      .take(each => decideStart(each, { model: 'v2', reason: 'third' }, catalog))
      .take(each => decideRoute(each, g2, { shares: { g1: 0.9, g2: 0.05, g3: 0.05 }, override: 't', reason: 'w' }))
    expect(refusalOf(decideRoute(scene.base(), g2, { share: 0.5, reason: 'why' }))).toContain('g3 has queries too')
  })
})

describe('a build', () => {
  const scene = sceneOf('active')
  test('is the next g<n> with the shards of the active one', () => {
    expect(recordOf(decideStart(scene.base(), { model: 'v2', reason: 'why' }, catalog))).toMatchObject({
      generation: 'g3',
      shards: 1,
      backfillUntil: [10, 0, 0, 0],
      topicEpoch: catalog.topicEpoch,
      from: null,
    })
  })

  test.each([
    [{ model: 'v2', generation: 'g1' }, 'the name g1 has been used'],
    [{}, 'model: name one'],
    [{ model: 'v9' }, 'model: v9 is not registered'],
    [{ model: 'v2', from: 'g1' }, 'the objects of g1 are those of v1, not of v2'],
    [{ from: 'g9' }, 'from: generation g9 is unknown or retired'],
    [{ model: 'v2', shards: 5 }, 'there are 4 partitions'],
    [{ model: 'v2', index: '[]' }, 'index: not a JSON object'],
    [{ model: 'v2', index: '{' }, 'index: not a JSON object'],
  ])('%j is refused', (request, message) => {
    expect(refusalOf(decideStart(scene.base(), { ...request, reason: 'why' }, catalog))).toContain(message)
  })

  test('of a model whose files are others than those registered is refused', () => {
    const other = { ...models.v1, fingerprint: 'f'.repeat(64) as Fingerprint }
    expect(refusalOf(decideModel(scene.base(), other))).toContain('registered with another fingerprint')
    expect(decideModel(scene.base(), models.v1)).toBeNull()
  })

  test('may copy what is built already, of the same model', () => {
    expect(recordOf(decideStart(scene.base(), { from: 'g1', shards: 4, reason: 'why' }, catalog))).toMatchObject({
      model: 'v1',
      from: 'g1',
      shards: 4,
    })
    const building = sceneOf('building').base()
    expect(refusalOf(decideStart(building, { from: 'g2', reason: 'why' }, catalog))).toContain('not building itself')
  })
})

test('the rate of a rebuild can be set while it runs', () => {
  const scene = sceneOf('building').take(base => decideResume(base, g2, 7))
  expect(scene.state.generations.get(g2)!.rebuild).toEqual({ phase: 'running', imagesPerSecond: 7 })
  scene.take(base => decidePause(base, g2)).take(base => decideResume(base, g2))
  expect(scene.state.generations.get(g2)!.rebuild).toEqual({ phase: 'running', imagesPerSecond: 7 })
})

const anyGeneration = fc.constantFrom('g1', 'g2', 'g3', 'g4').map(name => name as Generation)
const anyShare = fc.constantFrom(0, 0.05, 0.5, 1)
const reason = 'why'
type Step = (base: DecisionBase) => Decision | null
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom('v1' as const, 'v2' as const).map(name => (base: DecisionBase) => decideModel(base, models[name])),
  fc
    .record({
      model: fc.option(fc.constantFrom('v1', 'v2'), { nil: undefined }),
      from: fc.option(anyGeneration, { nil: undefined }),
      shards: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
    })
    .map(({ model, from, shards }) => (base: DecisionBase) => {
      const given = { ...(model && { model }), ...(from && { from }), ...(shards && { shards }) }
      return decideStart(base, { ...given, reason }, catalog)
    }),
  anyGeneration.map(name => (base: DecisionBase) => decidePause(base, name)),
  fc.tuple(anyGeneration, fc.option(fc.nat(9), { nil: undefined })).map(
    ([name, rate]) =>
      (base: DecisionBase) =>
        decideResume(base, name, rate),
  ),
  anyGeneration.map(name => (base: DecisionBase) => decideCaughtUp(base, name)),
  fc
    .tuple(anyGeneration, anyGeneration)
    .filter(([name, against]) => name !== against)
    .map(
      ([name, against]) =>
        (base: DecisionBase) =>
          decideCertificate(base, name, { ...proof, against }),
    ),
  anyGeneration.map(name => (base: DecisionBase) => decideCanary(base, name, proof)),
  fc.tuple(anyGeneration, anyShare, fc.boolean()).map(
    ([name, share, overrides]) =>
      (base: DecisionBase) =>
        decideRoute(base, name, { share, reason, ...(overrides ? { override: 'test' } : {}) }),
  ),
  fc.tuple(fc.dictionary(anyGeneration, anyShare), fc.boolean()).map(
    ([shares, overrides]) =>
      (base: DecisionBase) =>
        decideRoute(base, g1, { shares, reason, ...(overrides ? { override: 'test' } : {}) }),
  ),
  fc.tuple(anyGeneration, fc.option(anyGeneration, { nil: undefined }), fc.boolean()).map(
    ([name, to, force]) =>
      (base: DecisionBase) =>
        decideRollback(base, name, { reason, force, ...(to === undefined ? {} : { to }) }),
  ),
  fc.tuple(anyGeneration, fc.boolean()).map(
    ([name, force]) =>
      (base: DecisionBase) =>
        decideRetire(base, name, { reason, force }),
  ),
)
const anyLook = fc.constantFrom<GenerationLook>(
  wellLook,
  { ...wellLook, indexAgeMs: 60_000 },
  { ...wellLook, indexAgeMs: null, unready: [0] },
  { ...wellLook, progress: { done: 1, total: 10, behind: ['a replica'] } },
)

const anySteps = fc.array(fc.tuple(anyStep, anyGeneration, anyLook, fc.nat(2_000)), { minLength: 20, maxLength: 60 })

test('whatever is decided, the fold accepts it, unless another record came first', () => {
  const counts = { taken: 0, refused: 0, lost: 0 }
  fc.assert(
    fc.property(fc.option(fc.constantFrom(...sceneNames)), anySteps, (begin, steps) => {
      const scene = begin === null ? new Scene() : sceneOf(begin)
      let stale: Decision | null = null
      for (const [step, name, look, passedMs] of steps) {
        scene.nowMs += passedMs
        scene.looks.set(name, look)
        const decision = step(scene.base())
        if (decision === null) continue
        if ('refused' in decision) {
          counts.refused++
          expect(decision.refused.message).not.toBe('')
          continue
        }
        expect(scene.fold(decision.record)).toBeNull()
        counts.taken++
        if (stale !== null && 'record' in stale && scene.fold(stale.record) !== null) counts.lost++
        stale = decision
        expect([...scene.state.generations.values()].filter(each => each.state === 'active').length).toBeLessThan(2)
        if (scene.state.main !== null) expect(activeOf(scene.state)).not.toBeNull()
      }
    }),
    { numRuns: 300 },
  )
  expect(counts.taken).toBeGreaterThan(300)
  expect(counts.refused).toBeGreaterThan(300)
  expect(counts.lost).toBeGreaterThan(100)
})

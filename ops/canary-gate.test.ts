import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Generation } from '../schemas/ids.ts'
import { normalise } from '../schemas/unit-vector.ts'
import type { CanaryReport } from '../topologies/generations/canary/canary-gate.ts'
import { seededRandom } from '../topologies/generations/canary/seeded-random.ts'
import { CanaryWorld, type WorldItem } from './testing/canary-world.ts'
import { type Embedding, FeatureModel, otherView, projected, smoothPicture } from './testing/feature-model.ts'

const dims = 64
const items: readonly WorldItem[] = Array.from({ length: 120 }, (_, i) => {
  return { itemId: `item-${i}`, category: `category-${i % 5}`, picture: smoothPicture(i + 1) }
})
const reference = 'g1' as Generation

let world: CanaryWorld
const quiet = new AbortController().signal
const sides = (candidate: string) => ({ candidate: candidate as Generation, reference })
let goldenSet: string

beforeAll(async () => {
  world = await CanaryWorld.create(items)
  await world.build(reference, new FeatureModel('v1', dims))
  const lines = items.slice(0, 40).map(({ itemId, picture }, i) => {
    writeFileSync(join(world.directory, `view-${i}.rgb`), otherView(picture, i))
    return JSON.stringify({ image: `view-${i}.rgb`, relevant: [{ id: itemId, grade: 2 }] })
  })
  goldenSet = join(world.directory, 'views.jsonl')
  writeFileSync(goldenSet, lines.join('\n'))
})

afterAll(() => world.close())

interface Asking {
  readonly isLabelled?: boolean
}

async function judged(name: string, embedding: Embedding | undefined, { isLabelled = false }: Asking = {}) {
  const model = new FeatureModel(name, dims, embedding)
  const { generation } = await world.build(name, model)
  return ask(generation, isLabelled)
}

function ask(candidate: Generation, isLabelled: boolean): Promise<CanaryReport> {
  const gate = world.gate({ config: { goldenSet: isLabelled ? [goldenSet] : [] } })
  return gate.run({ ...sides(candidate), signal: quiet, onProgress: () => {} })
}

function measured({ measures }: CanaryReport, name: string, of = 'candidate'): number | null | undefined {
  return measures.find(measure => measure.name === name && measure.of === of)?.value
}

/** Measures that are the reasons. */
const failedBy = ({ measures }: CanaryReport): readonly string[] =>
  measures.filter(({ met }) => met === false).map(({ name }) => name)

describe('a right model', () => {
  test('passes, with the measures of both generations side by side', async () => {
    const report = await judged('v2', undefined, { isLabelled: true })
    expect(report).toMatchObject({ passed: true, reasons: [], candidate: 'v2', reference: 'g1', misses: [] })
    for (const of of ['candidate', 'reference']) {
      expect(measured(report, 'labelled.recall@10', of)).toBe(1)
      expect(measured(report, 'index.recall@10', of)).toBeGreaterThan(0.99)
      expect(measured(report, 'picture.found@10', of)).toBe(1)
      expect(measured(report, 'latency.p95Ms', of)).toBeGreaterThan(0)
    }
    expect(measured(report, 'neighbours.agreement@10')).toBeGreaterThan(0.3)
    expect(report.questions.find(({ name }) => name === 'labelled')).toMatchObject({ asked: 40, skipped: 0 })
    expect(report.replicas.map(({ replica }) => replica).toSorted()).toEqual(['g1-0-a', 'g1-1-a', 'v2-0-a', 'v2-1-a'])
    expect(report.replicas.every(({ asked, selfFirst }) => asked > 10 && selfFirst === 1)).toBe(true)
  })

  test('of another dimension passes as well', async () => {
    const { generation } = await world.build('wider', new FeatureModel('wider', 96))
    expect(await ask(generation, true)).toMatchObject({ passed: true, reasons: [] })
  })

  test('passes without a labelled set: it is not required where none is configured', async () => {
    const report = await ask('v2' as Generation, false)
    expect(report).toMatchObject({ passed: true, reasons: [] })
    expect(measured(report, 'labelled.recall@10')).toBeNull()
  })
})

const v1 = projected('v1', dims)
const noise = seededRandom(99)
const sabotaged: readonly (readonly [string, string, Embedding])[] = [
  ['random vectors', 'picture.found@10', () => normalise(Float32Array.from({ length: dims }, () => noise() - 0.5))],
  ['one vector for all', 'vectors.meanCosine', () => normalise(new Float32Array(dims).fill(1))],
  ['vectors that are a hash of the pixels', 'picture.cropFound@10', hashed],
  ['channels mirrored in queries', 'picture.found@10', (crop, use) => v1(use === 'query' ? mirrored(crop) : crop, use)],
  ['vectors that are not of unit length', 'items.failedShare', (crop, use) => v1(crop, use).map(value => 2 * value)],
]

/** Deterministic, and nothing that is alike is near. */
function hashed(crop: Uint8Array): Float32Array {
  const random = seededRandom(crop.reduce((hash, value) => (Math.imul(hash, 31) + value) >>> 0, 7))
  return normalise(Float32Array.from({ length: dims }, () => random() - 0.5))
}

function mirrored(crop: Uint8Array): Uint8Array {
  return crop.map((_, at) => crop[at - (at % 3) + 2 - (at % 3)]!)
}

test.each(sabotaged)('a model that gives %s is stopped, by %s among others', async (what, measure, embedding) => {
  const report = await judged(what.replaceAll(' ', '-').slice(0, 40), embedding)
  expect(report.passed).toBe(false)
  expect(failedBy(report)).toContain(measure)
  expect(report.reasons.some(reason => reason.startsWith(`${measure} is `))).toBe(true)
})

test('what people chose together is asked as items like an item', async () => {
  const near = await world.gate().run({ ...sides('v2'), signal: quiet, onProgress: () => {} })
  expect(near.questions.find(({ name }) => name === 'engagement')).toMatchObject({ asked: 0 })
  const shown = { type: 'ResultsShown', generation: 'g1', atMs: 5, session: 'somebody' } as const
  const chosen = { type: 'Engaged', action: 'click', position: 0, atMs: 6 } as const
  const pair = ['item-3', 'item-4']
  await world.engage([
    { ...shown, queryId: 'q1', itemIds: [...pair, 'item-5'] },
    ...pair.map(itemId => ({ ...chosen, queryId: 'q1', itemId })),
    { ...shown, queryId: 'q2', itemIds: ['item-7', 'gone'] },
    { ...chosen, queryId: 'q2', itemId: 'item-7' },
    { ...chosen, queryId: 'q2', itemId: 'gone' },
  ])
  const report = await world.gate().run({ ...sides('v2'), signal: quiet, onProgress: () => {} })
  expect(report.questions.find(({ name }) => name === 'engagement')).toMatchObject({ asked: 1, skipped: 1 })
  expect(measured(report, 'engagement.recall@24')).toBeTypeOf('number')
  expect(report.passed).toBe(true)
})

test('it tells how far it is, and ends when it is to end', async () => {
  const progress: string[] = []
  const stop = new AbortController()
  const running = world.gate().run({
    ...sides('v2'),
    signal: stop.signal,
    onProgress: ({ done, total, what }) => {
      progress.push(what)
      expect(done).toBeLessThanOrEqual(total)
      if (what === 'pictures') stop.abort(new Error('enough'))
    },
  })
  await expect(running).rejects.toThrow('enough')
  expect(new Set(progress)).toEqual(new Set(['vectors', 'pictures']))
})

test('a generation that nobody holds cannot be asked', async () => {
  const nobody = sides('nobody')
  await expect(world.gate().run({ ...nobody, signal: quiet, onProgress: () => {} })).rejects.toMatchObject({
    code: 'not-ready',
  })
})

test('a model that is not loaded is a reason, not an error of the gate', async () => {
  const { generation } = await world.build('unloaded', new FeatureModel('unloaded', dims))
  const held = world.generations.at(-1)!
  world.generations[world.generations.length - 1] = { ...held, model: new FeatureModel('another', dims) }
  const report = await ask(generation, false)
  expect(failedBy(report)).toContain('answers.failedShare')
})

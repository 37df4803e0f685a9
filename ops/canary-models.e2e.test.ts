import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Generation } from '../schemas/ids.ts'
import type { CanaryReport } from '../topologies/generations/canary/canary-gate.ts'
import { bundledModels } from '../workers/model-manifest.ts'
import { ModelPool } from '../workers/model-pool.ts'
import { demoDirectory } from './demo-catalog.ts'
import { CanaryWorld, type WorldItem } from './testing/canary-world.ts'
import { type Sabotage, sabotagedModel } from './testing/sabotaged-model.ts'

/** Products with another view, which is asked for, and as many that only stand beside them. */
const askedFor = 60
const log = pino({ level: 'silent' })
const pools: ModelPool[] = []
let directory: string
let goldenSet: string
let world: CanaryWorld

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-canary-models-'))
  const views = (await readLines('views.jsonl')).slice(0, askedFor)
  goldenSet = join(directory, 'views.jsonl')
  const lines = views.map(view => JSON.stringify({ ...view, image: join(demoDirectory, view.image as string) }))
  await writeFile(goldenSet, lines.join('\n'))
  world = await CanaryWorld.create(await catalogue(views))
  // Without a detector, which is the same in all of them and takes the most time.
  await cp(bundledModels, join(directory, 'plain'), { recursive: true })
  const manifestFile = join(directory, 'plain', 'manifest.json')
  const manifest = JSON.parse(await readFile(manifestFile, 'utf8'))
  const sets = { v1: { embedder: 'embedder-v1' }, v2: { embedder: 'embedder-v2' } }
  await writeFile(manifestFile, JSON.stringify({ ...manifest, sets }))
  await world.build('v1', await open(join(directory, 'plain'), 'v1'))
}, 120_000)

afterAll(async () => {
  await Promise.all(pools.map(pool => pool.close()))
  await world.close()
  await rm(directory, { recursive: true })
})

type Line = Readonly<Record<string, unknown>>

async function readLines(file: string): Promise<readonly Line[]> {
  const text = await readFile(join(demoDirectory, file), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Line)
}

async function catalogue(views: readonly Line[]): Promise<readonly WorldItem[]> {
  const wanted = new Set(views.map(({ relevant }) => (relevant as readonly { readonly id: string }[])[0]!.id))
  const products = await readLines('catalog.jsonl')
  const others = products.filter(({ id }) => !wanted.has(id as string)).slice(0, wanted.size)
  const items = [...products.filter(({ id }) => wanted.has(id as string)), ...others]
  return Promise.all(
    items.map(async ({ id, category, image }) => {
      const picture = await readFile(join(demoDirectory, image as string))
      return { itemId: id as string, category: category as string, picture }
    }),
  )
}

async function open(modelDirectory: string, modelSet: string): Promise<ModelPool> {
  const pool = await ModelPool.open({ modelSet, modelDirectory, processes: 1, clock: () => performance.now(), log })
  pools.push(pool)
  return pool
}

async function judged(name: string, model: ModelPool): Promise<CanaryReport> {
  const { generation } = await world.build(name, model)
  const gate = world.gate({ config: { goldenSet: [goldenSet] } })
  const signal = new AbortController().signal
  return gate.run({ candidate: generation, reference: 'v1' as Generation, signal, onProgress: () => {} })
}

const measured = ({ measures }: CanaryReport, name: string, side: 'candidate' | 'reference'): number =>
  measures.find(measure => measure.name === name && measure.of === side)?.value ?? Number.NaN

const failedBy = ({ measures }: CanaryReport): readonly string[] =>
  measures.filter(({ met }) => met === false).map(({ name }) => name)

test('the next model passes, and its recall is told beside that of the one there is', async () => {
  const report = await judged('v2', await open(join(directory, 'plain'), 'v2'))
  expect(failedBy(report)).toEqual([])
  for (const at of [1, 5, 10]) {
    const [v2, v1] = (['candidate', 'reference'] as const).map(side => measured(report, `labelled.recall@${at}`, side))
    expect(v1).toBeGreaterThan(0.8)
    expect(v2).toBeGreaterThanOrEqual(v1!)
  }
})

const forgetful = [
  'vectors.meanCosine',
  'picture.cropFound@1',
  'picture.cropFound@10',
  'labelled.recall@10',
  'labelled.recall@1',
]

test.each<[Sabotage, readonly string[]]>([
  [{ embedder: 'embedder-v1', kind: 'forgetful' }, forgetful],
  [{ embedder: 'embedder-v2', kind: 'forgetful' }, forgetful],
  [{ embedder: 'embedder-v1', kind: 'mirrored' }, ['labelled.recall@1']],
])('a model that is sabotaged (%o) is stopped', async (sabotage, reasons) => {
  const name = `${sabotage.kind}-${sabotage.embedder}`
  const at = join(directory, name)
  await sabotagedModel(at, sabotage)
  const report = await judged(name, await open(at, 'sabotaged'))
  console.log(
    name,
    report.reasons,
    report.measures
      .filter(m => /labelled.recall|crop|Category|agree/.test(m.name))
      .map(m => `${m.name} ${m.of} ${m.value}`),
  )
  expect(report.passed).toBe(false)
  expect(failedBy(report)).toEqual(expect.arrayContaining([...reasons]))
})

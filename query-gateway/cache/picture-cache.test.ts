import { createHash } from 'node:crypto'
import { createNoopMeter } from '@opentelemetry/api'
import { beforeEach, expect, test } from 'vitest'
import type { Fingerprint, ImageDigest } from '../../schemas/ids.ts'
import type { AnalysedImage } from '../../schemas/image-analysis.ts'
import { fingerprint } from '../testing/gateway-fixture.ts'
import { PictureCache, type PictureQuestion } from './picture-cache.ts'

const never = new AbortController().signal
const bytes = Buffer.from('a picture')
const digest = createHash('sha256').update(bytes).digest('hex') as ImageDigest
const uploaded: PictureQuestion = { image: { bytes }, digest: null, selection: 'salient', fingerprint }

let cache: PictureCache
let runs = 0

beforeEach(() => {
  cache = new PictureCache({ maxBytes: 1e6, meter: createNoopMeter() })
  runs = 0
})

const seen = (): AnalysedImage => ({
  width: 1,
  height: 1,
  objects: [],
  searched: { box: [0, 0, 1, 1], object: null },
  vector: Float32Array.of(++runs),
  timingMs: { decode: 1, detect: 1, embed: 1 },
})
const find = (question: PictureQuestion, of = cache) => of.find(question, never, async () => seen())

test('the same bytes are looked at once, uploaded or stored', async () => {
  expect(await find(uploaded)).toMatchObject({ known: false })
  expect(await find({ ...uploaded, image: { bytes: Buffer.from('a picture') } })).toMatchObject({ known: true })
  expect(await find({ ...uploaded, image: { path: '/x' }, digest })).toMatchObject({ known: true })
  const large = { ...uploaded, image: { bytes: Buffer.alloc(600_000, 7) } }
  await find(large)
  const stored = createHash('sha256').update(large.image.bytes).digest('hex') as ImageDigest
  expect(await find({ ...large, digest: stored })).toMatchObject({ known: true })
  expect(runs).toBe(2)
})

test.each([
  ['bytes', { image: { bytes: Buffer.from('another') } }],
  ['model', { fingerprint: 'cd'.repeat(32) as Fingerprint }],
  ['object', { selection: { object: 1 } }],
  ['box', { selection: { box: [0, 0, 0.5, 0.5] as const } }],
])('another %s is another answer', async (_name, other) => {
  await find(uploaded)
  expect(await find({ ...uploaded, ...other })).toMatchObject({ known: false })
  expect(await find(uploaded)).toMatchObject({ known: true, analysed: { vector: Float32Array.of(1) } })
})

test('what a model saw is forgotten with it, and what another saw is not', async () => {
  const other = { ...uploaded, fingerprint: 'cd'.repeat(32) as Fingerprint }
  await find(uploaded)
  await find(other)
  cache.forget(fingerprint)
  expect(await find(other)).toMatchObject({ known: true })
  expect(await find(uploaded)).toMatchObject({ known: false })
})

test('a failure is not kept', async () => {
  const broken = cache.find(uploaded, never, () => Promise.reject(new Error('no picture')))
  await expect(broken).rejects.toThrow('no picture')
  expect(await find(uploaded)).toMatchObject({ known: false })
})

test('many who ask at once share one run, also where nothing is kept', async () => {
  const none = new PictureCache({ maxBytes: 0, meter: createNoopMeter() })
  const answers = await Promise.all(Array.from({ length: 20 }, () => find(uploaded, none)))
  expect(runs).toBe(1)
  expect(answers.filter(({ known }) => !known)).toHaveLength(1)
  expect(await find(uploaded, none)).toMatchObject({ known: false })
})

test('what was not asked for longest is forgotten first', async () => {
  const small = new PictureCache({ maxBytes: 1_300, meter: createNoopMeter() })
  const of = (n: number) => ({ ...uploaded, image: { bytes: Buffer.from(`picture ${n}`) } })
  for (const n of [1, 2, 3]) await find(of(n), small)
  await find(of(1), small)
  await find(of(4), small)
  expect(await find(of(1), small)).toMatchObject({ known: true })
  expect(await find(of(2), small)).toMatchObject({ known: false })
})

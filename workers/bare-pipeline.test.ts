import { createHash } from 'node:crypto'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { acceptVector } from '../schemas/accept-mutation.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import { decodeF16, dot, encodeF16 } from '../schemas/unit-vector.ts'
import { BarePipeline } from './bare-pipeline.ts'
import { checkGoldens } from './golden-check.ts'
import { bundledModels, fingerprintOf, modelSetNames, openModelSet } from './model-manifest.ts'
import { wholePicture } from './object-policy.ts'
import { onnxRuntime } from './onnx-runtime.ts'
import { cropSquare } from './preprocess/resample.ts'
import { temporaryDirectory } from './testing/temporary-directory.ts'

const golden = (name: string) => readFile(join(bundledModels, 'golden', name))
let pipeline: BarePipeline

beforeAll(async () => {
  pipeline = await BarePipeline.open(await openModelSet(bundledModels, 'v1'), onnxRuntime)
})
afterAll(() => pipeline.close())

describe('golden vectors', () => {
  test('there are two model sets', async () => expect(await modelSetNames(bundledModels)).toEqual(['v1', 'v2']))

  test.each(['v1', 'v2'])('%s: pattern, pictures and boxes', async name => {
    const opened = await BarePipeline.open(await openModelSet(bundledModels, name), onnxRuntime)
    const results = await checkGoldens(opened, 'all')
    await opened.close()
    expect(results.map(result => result.input)).toEqual([
      'pattern',
      'furniture/images/blendswap-cc-0-1.webp',
      'furniture/rooms/room-000.jpg',
      'furniture/rooms/room-000.jpg',
      'furniture/rooms/room-005.jpg',
    ])
    for (const { difference, tolerance } of results) expect(difference).toBeLessThanOrEqual(tolerance)
  })

  test('a model that gives other vectors is refused', async () => {
    const { embedder } = pipeline.set
    const moved = { ...embedder, golden: [{ ...embedder.golden[0]!, expect: [0.5] }] }
    const other = await BarePipeline.open({ ...pipeline.set, embedder: moved }, onnxRuntime)
    await expect(checkGoldens(other, 'pattern')).rejects.toMatchObject({ code: 'model-invalid' })
    await other.close()
  })
})

describe('index and query take one route', () => {
  test.each(['blendswap-cc-0-1.webp', 'room-000.jpg', 'room-005.jpg'])('%s', async name => {
    const bytes = await golden(name)
    const image = await pipeline.index(bytes, digestOf(bytes))
    const analysed = await pipeline.analyse(bytes, 'whole')
    expect(image).toMatchObject({ digest: digestOf(bytes), width: analysed.width, height: analysed.height })
    expect(encodeF16(analysed.vector!)).toEqual(image.objects[0]!.vector)
    for (const object of image.objects) {
      expect(acceptVector(decodeF16(object.vector), pipeline.set.dims)).toBeNull()
      const { vector } = await pipeline.analyse(bytes, { box: object.box })
      // Crops run in fours are not bit for bit those run alone.
      expect(dot(decodeF16(object.vector), vector!)).toBeGreaterThan(0.9999)
    }
  })

  test('a room is a scene, a product shot is not', async () => {
    const product = await golden('blendswap-cc-0-1.webp')
    const room = await golden('room-005.jpg')
    expect((await pipeline.index(product, digestOf(product))).objects).toHaveLength(1)
    expect((await pipeline.index(room, digestOf(room))).objects.length).toBeGreaterThan(2)
  })

  test('stored bytes that lost their digest are refused', async () => {
    const bytes = await golden('blendswap-cc-0-1.webp')
    await expect(pipeline.index(bytes, '0'.repeat(64) as ImageDigest)).rejects.toMatchObject({ code: 'image-corrupt' })
  })
})

describe('what a query selects', () => {
  test('nothing: objects without a vector', async () => {
    const { objects, searched, vector } = await pipeline.analyse(await golden('room-000.jpg'), 'none')
    expect(objects.length).toBeGreaterThan(1)
    expect(objects.map(object => object.score)).toEqual(objects.map(object => object.score).toSorted((a, b) => b - a))
    expect([searched, vector]).toEqual([null, null])
  })

  test('an object by its place, and what is not there', async () => {
    const bytes = await golden('room-000.jpg')
    const analysed = await pipeline.analyse(bytes, { object: 0 })
    expect(analysed.searched).toEqual({ box: analysed.objects[0]!.box, object: 0 })
    await expect(pipeline.analyse(bytes, { object: 99 })).rejects.toMatchObject({ code: 'object-not-found' })
  })

  test('the salient thing of a room, the whole of a product shot', async () => {
    expect((await pipeline.analyse(await golden('room-005.jpg'), 'salient')).searched?.object).not.toBeNull()
    const product = await pipeline.analyse(await golden('blendswap-cc-0-1.webp'), 'salient')
    expect(product.searched).toEqual({ box: wholePicture, object: null })
  })
})

describe('crops', () => {
  const size = 16
  const fraction = fc.integer({ min: 0, max: 1_000 }).map(n => n / 1_000)
  const span = fc.tuple(fraction, fraction).filter(([a, b]) => a < b)

  test('every box of every picture has one', async () => {
    const side = fc.integer({ min: 1, max: 40 })
    await fc.assert(
      fc.asyncProperty(side, side, span, span, async (width, height, [x0, x1], [y0, y1]) => {
        const data = new Uint8Array(width * height * 3).fill(77)
        const crop = await cropSquare({ data, width, height }, [x0, y0, x1, y1], size)
        expect(crop.length).toBe(size * size * 3)
        expect(crop.every(byte => byte === 77)).toBe(true)
      }),
      { numRuns: 60 },
    )
  })

  test('outside the picture its edge goes on', async () => {
    const row = [10, 10, 10, 200, 200, 200]
    const crop = await cropSquare({ data: Uint8Array.from(row), width: 2, height: 1 }, wholePicture, 2)
    expect([...crop]).toEqual([...row, ...row])
  })
})

describe('fingerprint', () => {
  test('differs between the sets and is stable', async () => {
    const v2 = await openModelSet(bundledModels, 'v2')
    expect(v2.fingerprint).not.toBe(pipeline.set.fingerprint)
    expect(fingerprintOf(v2)).toBe(v2.fingerprint)
    // A change here means: every vector in every index is foreign from now on.
    expect(pipeline.set.fingerprint).toBe('5e0509b214f45c9f2884fe6db58b3e2111fd764fd2aea75e711239fbd5b22197')
  })

  test('follows the detector, too', () => {
    const { detector, embedder } = pipeline.set
    const stricter = { ...detector!, output: { ...detector!.output, defaultScore: 0.2 } }
    expect(fingerprintOf({ detector: stricter, embedder })).not.toBe(pipeline.set.fingerprint)
  })
})

describe('a model directory that is not right is refused', () => {
  test('unknown set, no directory', async () => {
    await expect(openModelSet(bundledModels, 'v9')).rejects.toMatchObject({ code: 'model-invalid' })
    await expect(openModelSet('/nowhere', 'v1')).rejects.toMatchObject({ code: 'model-invalid' })
  })

  test.each([
    ['a damaged file', 'embedder-v1.onnx', (bytes: Buffer) => bytes.fill(0, 100, 120)],
    ['a manifest that is not JSON', 'manifest.json', () => Buffer.from('{')],
    ['a policy this code does not have', 'manifest.json', (bytes: Buffer) => replaced(bytes, 'decode-v1', 'decode-v2')],
    [
      'an expanded box',
      'manifest.json',
      (bytes: Buffer) => replaced(bytes, '"boxExpansion": 1', '"boxExpansion": 1.2'),
    ],
  ])('%s', async (_, name, damage) => {
    const directory = await temporaryDirectory()
    await cp(bundledModels, directory, { recursive: true })
    await writeFile(join(directory, name), damage(await readFile(join(directory, name))))
    await expect(openModelSet(directory, 'v1')).rejects.toMatchObject({ code: 'model-invalid' })
  })
})

function digestOf(bytes: Uint8Array): ImageDigest {
  return createHash('sha256').update(bytes).digest('hex') as ImageDigest
}

function replaced(bytes: Buffer, from: string, to: string): Buffer {
  return Buffer.from(bytes.toString().replaceAll(from, to))
}

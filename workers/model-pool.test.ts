import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { ImageDigest } from '../schemas/ids.ts'
import { encodeF16 } from '../schemas/unit-vector.ts'
import { bundledModels } from './model-manifest.ts'
import { ModelPool, type ModelPoolOptions } from './model-pool.ts'

const faultyChild = fileURLToPath(new URL('./testing/faulty-model-child.ts', import.meta.url))
const anyDigest = '0'.repeat(64) as ImageDigest
const logged: { readonly fields: object; readonly message: string }[] = []
const opened: ModelPool[] = []

afterEach(async () => {
  logged.length = 0
  await Promise.all(opened.splice(0).map(pool => pool.close()))
})

describe('with the real models', () => {
  test('both routes give the vectors of the bare pipeline, and bad pictures their reason', async () => {
    const pool = await open({ processes: 2 })
    const names = ['blendswap-cc-0-1.webp', 'room-000.jpg', 'room-005.jpg']
    const paths = names.map(name => join(bundledModels, 'golden', name))
    const pictures = await Promise.all(paths.map(path => readFile(path)))
    const indexed = await Promise.all(pictures.map((bytes, i) => pool.index({ path: paths[i]! }, digestOf(bytes))))
    const analysed = await Promise.all(pictures.map(bytes => pool.analyse({ bytes }, 'whole')))
    indexed.forEach((image, i) => {
      expect(image.objects[0]!.vector).toEqual(encodeF16(analysed[i]!.vector!))
      expect(image.digest).toBe(digestOf(pictures[i]!))
    })
    const broken = pictures[1]!.subarray(0, 5_000)
    await expect(pool.index({ bytes: broken }, digestOf(broken))).rejects.toMatchObject({ code: 'image-corrupt' })
    await expect(pool.analyse({ bytes: Buffer.from('<html>') }, 'whole')).rejects.toMatchObject({
      code: 'image-format',
    })
    await expect(pool.index({ path: '/nowhere' }, anyDigest)).rejects.toMatchObject({ code: 'blob-not-found' })
    expect(pool.status().processes.map(each => [each.state, each.restarts])).toEqual([
      ['ready', 0],
      ['ready', 0],
    ])
  })

  test('models that are not what their manifest says do not start', async () => {
    await expect(open({ modelSet: 'v3' })).rejects.toMatchObject({ code: 'model-invalid' })
    await expect(open({ childEntry: faultyChild, modelSet: 'v2' })).rejects.toMatchObject({ code: 'model-invalid' })
  })
})

describe('a picture that crashes its process', () => {
  test('is failed alone; its neighbours come out well, and the crash is shown', async () => {
    const pool = await openFaulty({ processes: 2 })
    const results = await Promise.allSettled(
      ['5', '5', 'crash', '5', '5', '5', '5', '5'].map(order => index(pool, order)),
    )
    expect(results.map(result => result.status)).toEqual(results.map((_, i) => (i === 2 ? 'rejected' : 'fulfilled')))
    expect(results[2]).toMatchObject({ reason: { code: 'decoder-crashed', retryable: true } })
    const restarts = pool.status().processes.map(each => each.restarts)
    // Once among others, once alone.
    expect(restarts.reduce((a, b) => a + b)).toBe(2)
    expect(pool.status().processes.some(each => each.lastError?.includes('SIGABRT'))).toBe(true)
    expect(logged.some(({ message }) => message === 'model process ended and is started again')).toBe(true)
  })

  test('costs a query beside it nothing but time', async () => {
    const pool = await openFaulty({ processes: 1 })
    const crash = index(pool, 'crash')
    const query = pool.analyse({ bytes: Buffer.from('50') }, 'whole')
    await expect(crash).rejects.toMatchObject({ code: 'decoder-crashed' })
    expect((await query).height).toBe(1)
  })
})

describe('a picture that never comes back', () => {
  test.each(['hang', 'spin'])('is failed after its time, and its neighbours finish: %s', async order => {
    const pool = await openFaulty({ processes: 1, limits: { indexMs: 400 } })
    const results = await Promise.allSettled(['1', order, '1', '1'].map(each => index(pool, each)))
    expect(results.map(result => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    expect(results[1]).toMatchObject({ reason: { code: 'decoder-timeout' } })
  })

  test('as a query is failed after the time of queries', async () => {
    const pool = await openFaulty({ processes: 1, limits: { queryMs: 300 } })
    await expect(pool.analyse({ bytes: Buffer.from('hang') }, 'none')).rejects.toMatchObject({
      code: 'decoder-timeout',
    })
    expect((await index(pool, '1')).height).toBe(1)
  })
})

describe('order', () => {
  test('a query goes ahead of every queued picture', async () => {
    const pool = await openFaulty({ processes: 1 })
    const order: string[] = []
    const pictures = Array.from({ length: 12 }, (_, i) => index(pool, '20').then(() => order.push(`picture ${i}`)))
    await Promise.race(pictures)
    await pool.analyse({ bytes: Buffer.from('20') }, 'whole').then(() => order.push('query'))
    await Promise.all(pictures)
    // The one or two whose result was on its way already.
    expect(order.indexOf('query')).toBeLessThanOrEqual(3)
  })

  test('both processes have work', async () => {
    const pool = await openFaulty({ processes: 2 })
    const images = await Promise.all(Array.from({ length: 10 }, () => index(pool, '20')))
    expect(new Set(images.map(image => image.width)).size).toBe(2)
  })
})

test('more than may wait is refused at once', async () => {
  const pool = await openFaulty({ processes: 1, maxWaiting: { indexing: 2, queries: 1 } })
  const calls = Array.from({ length: 7 }, () => index(pool, '30'))
  const results = await Promise.allSettled(calls)
  const refused = results.filter(result => result.status === 'rejected')
  expect(refused.map(result => result.reason.code)).toEqual(['overloaded', 'overloaded'])
})

test('an aborted call rejects at once and holds nobody up', async () => {
  const pool = await openFaulty({ processes: 1 })
  const running = new AbortController()
  const waiting = new AbortController()
  const calls = [
    index(pool, '100', running.signal),
    ...Array.from({ length: 4 }, () => index(pool, '1', waiting.signal)),
  ]
  const last = index(pool, '1')
  running.abort(new Error('gone'))
  waiting.abort(new Error('gone'))
  for (const result of await Promise.allSettled(calls)) expect(result).toMatchObject({ reason: { message: 'gone' } })
  expect((await last).height).toBe(1)
  expect(pool.status().waiting).toEqual({ indexing: 0, queries: 0, alone: 0 })
})

test('a process over its memory limit is replaced after its picture', async () => {
  const pool = await openFaulty({ processes: 1, limits: { rssBytes: 250 * 1024 ** 2 } })
  const [first] = await Promise.all([index(pool, 'fat'), index(pool, '1')])
  const after = await index(pool, '1')
  expect(after.width).not.toBe(first.width)
  expect(pool.status().processes[0]).toMatchObject({ restarts: 1, state: 'ready' })
})

test('a process that is killed is started again and nothing is lost', async () => {
  const pool = await openFaulty({ processes: 2 })
  const pictures = Array.from({ length: 20 }, () => index(pool, '20'))
  await pictures[0]
  process.kill(pool.status().processes[0]!.pid!, 'SIGKILL')
  const images = await Promise.all(pictures)
  expect(images).toHaveLength(20)
})

test('a pool in the background gives way to others, and is replaced by one that does not, a process at a time', async () => {
  const pool = await openFaulty({ processes: 2, isBackground: true })
  expect(niceness(pool)).toEqual([10, 10])
  pool.setBackground(false)
  const running: number[] = []
  await vi.waitFor(async () => {
    running.push(pool.status().processes.filter(({ state }) => state === 'ready').length)
    await index(pool, '1')
    expect(niceness(pool)).toEqual([getPriority(), getPriority()])
  }, 20_000)
  expect(Math.min(...running)).toBeGreaterThanOrEqual(1)
  pool.setBackground(false)
  expect(pool.status().processes.map(({ restarts }) => restarts)).toEqual([1, 1])
})

test('closing fails what is under way and ends the processes', async () => {
  const pool = await openFaulty({ processes: 1 })
  const { pid } = pool.status().processes[0]!
  const call = index(pool, 'hang')
  const failed = expect(call).rejects.toMatchObject({ code: 'not-ready' })
  await pool.close()
  await failed
  expect(() => process.kill(pid!, 0)).toThrow('ESRCH')
  await expect(index(pool, '1')).rejects.toMatchObject({ code: 'not-ready' })
})

async function open(options: Partial<ModelPoolOptions>): Promise<ModelPool> {
  const log = (fields: object, message: string) => void logged.push({ fields, message })
  const pool = await ModelPool.open({
    modelSet: 'v1',
    processes: 1,
    clock: () => performance.now(),
    log: { info: log, warn: log },
    ...options,
  })
  opened.push(pool)
  return pool
}

function openFaulty(options: Partial<ModelPoolOptions>): Promise<ModelPool> {
  return open({ childEntry: faultyChild, ...options })
}

function niceness(pool: ModelPool): readonly number[] {
  return pool.status().processes.map(({ pid }) => getPriority(pid!))
}

function index(pool: ModelPool, order: string, signal?: AbortSignal) {
  return pool.index({ bytes: Buffer.from(order) }, anyDigest, signal)
}

function digestOf(bytes: Uint8Array): ImageDigest {
  return createHash('sha256').update(bytes).digest('hex') as ImageDigest
}

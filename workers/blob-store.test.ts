import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { ImageDigest } from '../schemas/ids.ts'
import { BlobStore, type BlobStoreOptions } from './blob-store.ts'
import { temporaryDirectory } from './testing/temporary-directory.ts'

const hour = 3_600_000
const referenced = new Set<ImageDigest>()
let now = 10 * hour

test('bytes and streams come back under their digest', async () => {
  const store = await open()
  const bytes = blob('a', 100)
  const stored = await store.put(bytes, 1_000)
  expect(stored).toEqual({ digest: digestOf(bytes), bytes: 100 })
  async function* inPieces() {
    yield bytes.subarray(0, 60)
    yield bytes.subarray(60)
  }
  expect(await store.put(inPieces(), 1_000)).toEqual(stored)
  expect(store.has(stored.digest)).toBe(true)
  expect(await store.read(stored.digest)).toEqual(bytes)
  expect(await readFile(store.path(stored.digest))).toEqual(bytes)
  expect(store.status()).toMatchObject({ blobs: 1, bytes: 100 })
})

test('nothing, too much and a stream that breaks leave no trace', async () => {
  const directory = await temporaryDirectory()
  const store = await open({ directory })
  await expect(store.put(new Uint8Array(0), 10)).rejects.toMatchObject({ code: 'image-empty' })
  await expect(store.put(blob('a', 11), 10)).rejects.toMatchObject({ code: 'image-too-large' })
  async function* breaking() {
    yield blob('a', 5)
    throw new Error('the line went dead')
  }
  await expect(store.put(breaking(), 10)).rejects.toThrow('the line went dead')
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  expect(entries.filter(entry => entry.isFile())).toEqual([])
})

test('what is missing or damaged is told apart', async () => {
  const store = await open()
  const { digest } = await store.put(blob('a', 100), 1_000)
  await writeFile(store.path(digest), blob('b', 100))
  await expect(store.read(digest)).rejects.toMatchObject({ code: 'image-corrupt' })
  await expect(store.read('0'.repeat(64) as ImageDigest)).rejects.toMatchObject({ code: 'blob-not-found' })
})

test('a new process takes stock and removes what was half written', async () => {
  const directory = await temporaryDirectory()
  const first = await open({ directory })
  const { digest } = await first.put(blob('a', 100), 1_000)
  await writeFile(join(directory, 'tmp', 'half'), 'half')
  await mkdir(join(directory, 'not-ours'))
  const second = await open({ directory })
  expect(second.has(digest)).toBe(true)
  expect(second.status()).toMatchObject({ blobs: 1, bytes: 100 })
  expect(await readdir(join(directory, 'tmp'))).toEqual([])
})

test('the same bytes put at once count once', async () => {
  const store = await open()
  await Promise.all(Array.from({ length: 5 }, () => store.put(blob('a', 100), 1_000)))
  expect(store.status()).toMatchObject({ blobs: 1, bytes: 100 })
})

test('the oldest that nothing refers to make room', async () => {
  const store = await open({ maxBytes: 1_000 })
  const digests: ImageDigest[] = []
  for (const name of ['a', 'b', 'c', 'd']) {
    digests.push((await store.put(blob(name, 240), 1_000)).digest)
    now += 1_000
  }
  referenced.add(digests[0]!)
  now += hour
  const { digest } = await store.put(blob('e', 240), 1_000)
  expect([...digests, digest].map(each => store.has(each))).toEqual([true, false, false, true, true])
  await expect(readFile(store.path(digests[1]!))).rejects.toThrow('ENOENT')
  expect(store.status().bytes).toBe(720)
})

test('a young blob and one put again stay', async () => {
  const store = await open({ maxBytes: 1_000 })
  const old = await store.put(blob('a', 400), 1_000)
  const again = await store.put(blob('b', 400), 1_000)
  now += 2 * hour
  await store.put(blob('b', 400), 1_000)
  await store.put(blob('c', 400), 1_000)
  expect([old, again].map(({ digest }) => store.has(digest))).toEqual([false, true])
})

test('one that an event has just named stays, however old', async () => {
  const store = await open({ maxBytes: 1_000 })
  const named = await store.put(blob('a', 500), 1_000)
  now += 2 * hour
  expect(store.renew(named.digest)).toBe(true)
  await store.put(blob('b', 500), 1_000)
  await expect(store.put(blob('c', 500), 1_000)).rejects.toMatchObject({ code: 'blob-store-full' })
  expect(store.has(named.digest)).toBe(true)
  expect(store.renew('0'.repeat(64) as ImageDigest)).toBe(false)
})

test('when all is referenced or young the store is full, and what was accepted stays', async () => {
  const store = await open({ maxBytes: 1_000 })
  const kept = await store.put(blob('a', 500), 1_000)
  referenced.add(kept.digest)
  now += 2 * hour
  const young = await store.put(blob('b', 500), 1_000)
  await expect(store.put(blob('c', 500), 1_000)).rejects.toMatchObject({ code: 'blob-store-full', retryable: true })
  expect([kept, young].map(({ digest }) => store.has(digest))).toEqual([true, true])
  expect(store.status()).toMatchObject({ blobs: 2, bytes: 1_000 })
})

test('puts at the bound at the same time stay within it', async () => {
  const store = await open({ maxBytes: 1_000 })
  const puts = Array.from({ length: 8 }, (_, i) => store.put(blob(`${i}`, 300), 1_000))
  const results = await Promise.allSettled(puts)
  expect(results.filter(result => result.status === 'fulfilled')).toHaveLength(3)
  expect(store.status().bytes).toBe(900)
})

async function open(options: Partial<BlobStoreOptions> = {}): Promise<BlobStore> {
  referenced.clear()
  return BlobStore.open({
    directory: options.directory ?? (await temporaryDirectory()),
    maxBytes: 1_000_000,
    isReferenced: async digests => new Set(digests.filter(digest => referenced.has(digest))),
    clock: () => now,
    ...options,
  })
}

function blob(name: string, length: number): Buffer {
  return Buffer.alloc(length, `${name}.`)
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

test('in a shared directory each process finds what others put, and leaves alone what they are writing', async () => {
  const directory = await temporaryDirectory()
  const gateway = await open({ directory, isShared: true })
  const half = join(directory, 'tmp', 'half-written')
  await writeFile(half, blob('x', 5))
  const worker = await open({ directory, isShared: true })
  expect(await readFile(half)).toHaveLength(5)
  const { digest } = await gateway.put(blob('a', 100), 1_000)
  expect(worker.has(digest)).toBe(true)
  expect(worker.status()).toMatchObject({ blobs: 1, bytes: 100 })
  const { digest: later } = await worker.put(blob('b', 50), 1_000)
  expect(gateway.renew(later)).toBe(true)
  expect(gateway.renew('0'.repeat(64) as ImageDigest)).toBe(false)
  expect(gateway.has('../../etc/passwd' as ImageDigest)).toBe(false)
})

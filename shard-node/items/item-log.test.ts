import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asPartition, parseItemId } from '../../schemas/ids.ts'
import type { DiskStep } from '../files/disk-steps.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { ItemLog, type SavedItemLog } from './item-log.ts'
import { decodeContent, decodeRecord, RecordEncoder, type WrittenRecord } from './item-record.ts'
import { itemId } from './testing/item-arbitraries.ts'
import { inTemporaryDirectory } from './testing/temporary-directory.ts'

const record: fc.Arbitrary<WrittenRecord> = fc.record({
  type: fc.constantFrom('attributes', 'objects', 'removal', 'failure', 'forgotten'),
  item: fc.integer({ min: 0, max: 2 ** 26 - 1 }),
  partition: fc.integer({ min: 0, max: 65_535 }).map(asPartition),
  offset: fc.integer({ min: -1, max: Number.MAX_SAFE_INTEGER }),
  appendTimeMs: fc.nat(),
  flag: fc.boolean(),
  value: fc.oneof(fc.constant(Number.NaN), fc.double({ noNaN: true }), fc.nat()),
  objectCount: fc.nat(255),
  words: fc.array(fc.integer({ min: 0, max: 0xffffffff }), { maxLength: 12 }),
  itemId: itemId.map(parseItemId),
  content: fc.option(fc.record({ text: fc.string({ unit: 'grapheme' }), list: fc.array(fc.double({ noNaN: true })) })),
})

interface Appended {
  readonly place: number
  readonly bytes: number
  readonly record: WrittenRecord
}

const encoder = new RecordEncoder()

function append(log: ItemLog, written: WrittenRecord): Appended {
  const bytes = encoder.encode(written)
  return { place: log.append(bytes), bytes: bytes.length, record: written }
}

function requireReadable(log: ItemLog, { place, bytes, record: written }: Appended): void {
  const span = log.read(place, bytes)
  const { hasContent, ...header } = decodeRecord(span)
  const { content, ...expected } = written
  expect(header).toEqual(expected)
  expect(hasContent).toBe(content !== null)
  if (content !== null) expect(decodeContent(span)).toEqual(JSON.parse(JSON.stringify(content)))
}

async function placesOf(log: ItemLog): Promise<number[]> {
  const places: number[] = []
  for (const number of log.numbers)
    for await (const block of log.walk(number)) for (const { place } of block) places.push(place)
  return places
}

function sample(item: number, text = ''): WrittenRecord {
  return {
    type: 'attributes',
    item,
    partition: asPartition(0),
    offset: item,
    appendTimeMs: 0,
    flag: false,
    value: 1,
    objectCount: 0,
    words: [item],
    itemId: parseItemId(`item-${item}`),
    content: { text },
  }
}

test('records are read as they were appended, written or not, and after reopening from any flush', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(record, { maxLength: 12 }), { minLength: 1, maxLength: 5 }), async batches => {
      await inTemporaryDirectory(async directory => {
        const files = new ShardFiles(directory)
        const log = await ItemLog.open(files, null, 1_500)
        const appended: Appended[] = []
        const flushed: { readonly saved: Promise<SavedItemLog>; readonly count: number }[] = []
        for (const batch of batches) {
          for (const each of batch) appended.push(append(log, each))
          flushed.push({ saved: log.flush(), count: appended.length })
          for (const each of appended) requireReadable(log, each)
        }
        await Promise.all(flushed.map(({ saved }) => saved))
        for (const each of appended) requireReadable(log, each)
        await log.close()
        for (const { saved, count } of flushed) {
          const again = await ItemLog.open(files, await saved, 1_500)
          expect(await placesOf(again)).toEqual(appended.slice(0, count).map(({ place }) => place))
          for (const each of appended.slice(0, count)) requireReadable(again, each)
          await again.close()
        }
      })
    }),
    { numRuns: 40 },
  )
})

test('records longer than a buffer or a file, and files that go on after a restart under new numbers', async () => {
  await inTemporaryDirectory(async directory => {
    const files = new ShardFiles(directory)
    const log = await ItemLog.open(files, null, 2 ** 20)
    const written = [1, 700_000, 5, 1_500_000, 2].map((length, item) => append(log, sample(item, 'y'.repeat(length))))
    for (const each of written) requireReadable(log, each)
    const saved = await log.flush()
    await log.close()
    const again = await ItemLog.open(files, saved, 2 ** 20)
    expect(await placesOf(again)).toEqual(written.map(({ place }) => place))
    const next = append(again, sample(9))
    for (const each of [...written, next]) requireReadable(again, each)
    const names = (await again.flush()).files.map(({ file }) => file)
    expect(new Set(names).size).toBe(names.length)
    expect(names.slice(0, saved.files.length)).toEqual(saved.files.map(({ file }) => file))
    await again.close()
  })
})

test('a log to which nothing was appended names the files it was opened with', async () => {
  await inTemporaryDirectory(async directory => {
    const files = new ShardFiles(directory)
    const log = await ItemLog.open(files, null, 1_000)
    expect(await log.flush()).toEqual({ files: [] })
    append(log, sample(1))
    const saved = await log.flush()
    await log.close()
    const again = await ItemLog.open(files, saved, 1_000)
    expect(await again.flush()).toEqual(saved)
    await again.close()
  })
})

test('the oldest file is given up: it is not named, not read, and its bytes do not count', async () => {
  await inTemporaryDirectory(async directory => {
    const log = await ItemLog.open(new ShardFiles(directory), null, 300)
    const written = [0, 1, 2, 3].map(item => append(log, sample(item, 'z'.repeat(200))))
    const { files } = await log.flush()
    expect(log.bytes).toBe(files.reduce((sum, { bytes }) => sum + bytes, 0))
    for await (const [record] of log.walk(log.oldest())) expect(record?.place).toBe(written[0]!.place)
    log.dropOldest()
    expect(log.holds(written[0]!.place)).toBe(false)
    expect(log.holds(written[1]!.place)).toBe(true)
    expect(await log.flush()).toEqual({ files: files.slice(1) })
    expect(log.bytes).toBe(files.slice(1).reduce((sum, { bytes }) => sum + bytes, 0))
    await log.close()
  })
})

/** Refuses a step as often as told. */
class RefusingDisk {
  refused: DiskStep | null = null
  readonly files: ShardFiles

  constructor(directory: string) {
    this.files = new ShardFiles(directory, step => {
      if (step === this.refused) throw Object.assign(new Error('refused'), { code: 'ENOSPC' })
    })
  }
}

test.each<DiskStep>(['create', 'sync-directory', 'write', 'sync'])(
  'a disk that is full at %s keeps nothing from being read, and once there is space all of it is written',
  async refused => {
    await inTemporaryDirectory(async directory => {
      const disk = new RefusingDisk(directory)
      const log = await ItemLog.open(disk.files, null, 500)
      const written = [append(log, sample(0, 'first'))]
      disk.refused = refused
      await expect(log.flush()).rejects.toMatchObject({ code: 'storage-full' })
      for (let item = 1; item < 12; item++) written.push(append(log, sample(item, 'x'.repeat(40 * item))))
      await expect(log.flush()).rejects.toMatchObject({ code: 'storage-full' })
      for (const each of written) requireReadable(log, each)
      disk.refused = null
      await log.settle(0)
      expect(log.failure).toBeNull()
      const saved = await log.flush()
      await log.close()
      const again = await ItemLog.open(disk.files, saved, 500)
      for (const each of written) requireReadable(again, each)
      expect(await placesOf(again)).toEqual(written.map(({ place }) => place))
      await again.close()
    })
  },
)

test('a file that is missing, short, of another format or changed in any bit is refused', async () => {
  await inTemporaryDirectory(async directory => {
    const files = new ShardFiles(directory)
    const log = await ItemLog.open(files, null, 600)
    for (let item = 0; item < 8; item++) append(log, sample(item, 'x'.repeat(100)))
    const saved = await log.flush()
    await log.close()
    expect(saved.files.length).toBeGreaterThan(2)
    for (const { file, bytes } of saved.files) {
      const path = join(directory, file)
      const intact = await readFile(path)
      const refuse = () => expect(ItemLog.open(files, saved, 600)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
      for (const at of [0, 9, 20, Math.floor(bytes / 2), bytes - 1]) {
        const damaged = Buffer.from(intact)
        damaged[at]! ^= 1 << (at % 8)
        await writeFile(path, damaged)
        await refuse()
      }
      await writeFile(path, intact)
      await truncate(path, bytes - 1)
      await refuse()
      await files.remove(file)
      await refuse()
      await writeFile(path, intact)
    }
    await (await ItemLog.open(files, saved, 600)).close()
  })
})

test('a record damaged while the log is open is refused when it is read', async () => {
  await inTemporaryDirectory(async directory => {
    const log = await ItemLog.open(new ShardFiles(directory), null, 10_000)
    const written = append(log, sample(1, 'some text'))
    const [saved] = (await log.flush()).files
    append(log, sample(2))
    await log.flush()
    const path = join(directory, saved!.file)
    const bytes = await readFile(path)
    bytes[saved!.bytes - 3]! ^= 1
    await writeFile(path, bytes)
    expect(() => log.read(written.place, written.bytes)).toThrow(
      expect.objectContaining({ code: 'checkpoint-corrupt' }),
    )
    await log.close()
  })
})

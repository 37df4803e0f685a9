import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { assert, asyncProperty, integer, uint8Array } from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { SavedFile } from '../segments/segment.ts'
import type { DiskStep } from './disk-steps.ts'
import { ShardFiles } from './shard-files.ts'

let directory: string
let files: ShardFiles
let steps: string[]
/** Thrown instead of a step of this name. */
let refused: { readonly step: DiskStep; readonly errno: string } | null

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-files-'))
  steps = []
  refused = null
  files = new ShardFiles(directory, recordStep)
})
afterEach(() => rm(directory, { recursive: true }))

function recordStep(step: DiskStep, file: string): void {
  if (step === refused?.step) throw Object.assign(new Error('refused'), { code: refused.errno })
  steps.push(`${step} ${file}`.trim())
}

async function save(file: string, ...contents: readonly Uint8Array[]): Promise<SavedFile> {
  const created = await files.create(file)
  try {
    for (const content of contents) await created.write(content)
    return await created.finish()
  } catch (thrown) {
    await created.abandon()
    throw thrown
  }
}

function sharedCopyOf(bytes: Uint8Array): Uint8Array {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + 3), 3)
  shared.set(bytes)
  return shared
}

describe('a new file', () => {
  test('is durable before it has its name, and its name before it is told', async () => {
    const content = randomBytes(3_000_000)
    const created = await files.create('rows-1')
    await created.write(content.subarray(0, 10))
    await created.write(sharedCopyOf(content.subarray(10)))
    expect(await readdir(directory)).toEqual([files.unfinishedName('rows-1')])
    const saved = await created.finish()
    expect(saved).toEqual({ file: 'rows-1', bytes: content.length, crc32: crc32(content) })
    expect(content.equals(await readFile(files.path('rows-1')))).toBe(true)
    const writes = Array.from({ length: 4 }, () => 'write rows-1')
    expect(steps).toEqual(['create rows-1', ...writes, 'sync rows-1', 'rename rows-1', 'sync-directory'])
  })

  test('replaces the file of its name at once', async () => {
    const first = await save('MANIFEST', Buffer.from('first'))
    const second = await files.create('MANIFEST')
    await second.write(Buffer.from('second'))
    await files.verify(first)
    await second.finish()
    expect(String(await files.read('MANIFEST'))).toBe('second')
    expect(await files.list()).toEqual(['MANIFEST'])
  })

  test('that is abandoned leaves nothing', async () => {
    const created = await files.create('rows-1')
    await created.write(Buffer.from('some'))
    await created.abandon()
    expect(await files.list()).toEqual([])
    expect(await files.read('rows-1')).toBeNull()
  })

  test('of a library goes the same way', async () => {
    const saved = await files.createBy('graph-1', path => writeFileSync(path, 'content'))
    expect(saved).toEqual({ file: 'graph-1', bytes: 7, crc32: crc32('content') })
    expect(steps.map(step => step.split(' ')[0])).toEqual(['create', 'write', 'sync', 'rename', 'sync-directory'])
  })
})

describe('what is refused', () => {
  const creating: readonly DiskStep[] = ['create', 'write', 'sync', 'rename', 'sync-directory']

  test.each(creating)('no space at %s: storage-full, and nothing under the name but a whole file', async step => {
    refused = { step, errno: 'ENOSPC' }
    const created = save('rows-1', Buffer.from('content'))
    await expect(created).rejects.toMatchObject({ code: 'storage-full', retryable: true })
    const library = files.createBy('graph-1', path => writeFileSync(path, 'content'))
    await expect(library).rejects.toMatchObject({ code: 'storage-full' })
    for (const name of ['rows-1', 'graph-1'])
      expect([null, 'content']).toContain((await files.read(name))?.toString() ?? null)
    for (const name of await files.list()) expect(['rows-1', 'graph-1']).toContain(name)
  })

  test('a disk that is really full', async () => {
    await symlink('/dev/full', files.path(files.unfinishedName('rows-1')))
    const created = await files.create('rows-1')
    await expect(created.write(Buffer.from('content'))).rejects.toMatchObject({ code: 'storage-full' })
    await created.abandon()
    expect(await files.list()).toEqual([])
  })

  test('anything else: storage-failed with its cause; what is not of the operating system passes', async () => {
    refused = { step: 'write', errno: 'EIO' }
    await expect(save('rows-1', Buffer.from('content'))).rejects.toMatchObject({
      code: 'storage-failed',
      cause: { code: 'EIO' },
    })
    const crashing = new ShardFiles(directory, () => {
      throw new Error('the process ends here')
    })
    await expect(crashing.create('rows-1')).rejects.toThrow('the process ends here')
    await expect(new ShardFiles(join(directory, 'none')).list()).rejects.toMatchObject({ code: 'storage-failed' })
  })
})

describe('appending', () => {
  test('goes on where the saved segment ends, over what lies behind it', async () => {
    const log = await files.appendTo({ file: 'log', bytes: 0, crc32: 0 })
    await log.write(Buffer.from('one '))
    const saved = await log.sync()
    await log.write(Buffer.from('lost and long'))
    await log.close()
    const again = await files.appendTo(saved)
    await again.write(Buffer.from('two '))
    expect(await again.sync()).toEqual({ file: 'log', bytes: 8, crc32: crc32('one two ') })
    await again.close()
    expect(await textOf({ file: 'log', bytes: 8, crc32: crc32('one two ') })).toBe('one two ')
    expect(steps.filter(step => !step.startsWith('write'))).toEqual([
      'create log',
      'sync-directory',
      'sync log',
      'sync log',
    ])
  })

  test('a write that fails counts for nothing, however often it is tried', async () => {
    const log = await files.appendTo({ file: 'log', bytes: 0, crc32: 0 })
    await log.write(Buffer.from('one '))
    refused = { step: 'write', errno: 'ENOSPC' }
    await expect(log.write(randomBytes(2_500_000))).rejects.toMatchObject({ code: 'storage-full' })
    expect(log.written.bytes).toBe(4)
    refused = null
    await log.write(Buffer.from('two'))
    expect(await log.sync()).toEqual({ file: 'log', bytes: 7, crc32: crc32('one two') })
    await log.close()
  })

  test('is refused when the file is shorter than what was saved of it', async () => {
    await writeFile(files.path('log'), 'short')
    const saved = { file: 'log', bytes: 6, crc32: 0 }
    await expect(files.appendTo(saved)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
  })
})

describe('reading', () => {
  test('regions go where they are asked to, across the pieces', async () => {
    const content = randomBytes(2_500_000)
    const saved = await save('rows-1', content)
    const targets = [sharedCopyOf(new Uint8Array(5)), new Uint8Array(1_500_000)] as const
    await files.readInto(saved, [
      { at: 7, into: targets[0] },
      { at: 1_000_000, into: targets[1] },
    ])
    expect(content.subarray(7, 12).equals(targets[0])).toBe(true)
    expect(content.subarray(1_000_000, 2_500_000).equals(targets[1])).toBe(true)
    const middle = new Uint8Array(9)
    await files.readAt(saved, { at: 100, into: middle })
    expect(content.subarray(100, 109).equals(middle)).toBe(true)
  })

  test('any bit flipped, any byte missing or added is told', async () => {
    const law = asyncProperty(
      uint8Array({ minLength: 1, maxLength: 300 }),
      integer({ min: 0 }),
      async (content, at) => {
        const saved = await save('rows-1', content)
        await files.verify(saved)
        const flipped = Uint8Array.from(content)
        flipped[at % content.length]! ^= 1 << (at % 8)
        for (const damaged of [flipped, content.subarray(0, at % content.length), Buffer.concat([content, flipped])]) {
          await writeFile(files.path('rows-1'), damaged)
          await expect(files.verify(saved)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
        }
      },
    )
    await assert(law, { numRuns: 50 })
  })

  test('a file that is missing, a file that ends while it is read', async () => {
    const saved = await save('rows-1', randomBytes(2_500_000))
    const pieces = files.pieces(saved, { mayBeLonger: false })
    await pieces.next()
    await truncate(files.path('rows-1'), 1_200_000)
    await expect(textFrom(pieces)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
    await files.remove('rows-1')
    await expect(files.verify(saved)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
  })
})

describe('another directory', () => {
  let target: ShardFiles
  beforeEach(async () => {
    target = new ShardFiles(join(directory, 'copy'), recordStep)
    await target.createDirectory()
  })

  test('a link is the same file', async () => {
    const saved = await save('rows-1', Buffer.from('content'))
    await files.link(saved, target)
    expect((await stat(target.path('rows-1'))).ino).toBe((await stat(files.path('rows-1'))).ino)
  })

  test.each(['EXDEV', 'EPERM'])('where links are refused (%s), it is a copy', async errno => {
    const saved = await save('rows-1', Buffer.from('content'))
    refused = { step: 'link', errno }
    await files.link(saved, target)
    expect((await stat(target.path('rows-1'))).ino).not.toBe((await stat(files.path('rows-1'))).ino)
    await target.verify(saved)
  })

  test('of a log only what was saved is copied, and nothing of a damaged one', async () => {
    await writeFile(files.path('log'), 'one two')
    const saved = { file: 'log', bytes: 4, crc32: crc32('one ') }
    await files.copy(saved, target)
    expect(String(await target.read('log'))).toBe('one ')
    await target.remove('log')
    await expect(files.copy({ ...saved, crc32: 1 }, target)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
    expect(await target.list()).toEqual([])
  })
})

async function textOf(saved: SavedFile): Promise<string> {
  return textFrom(files.pieces(saved, { mayBeLonger: true }))
}

async function textFrom(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  let text = ''
  for await (const piece of pieces) text += Buffer.from(piece).toString()
  return text
}

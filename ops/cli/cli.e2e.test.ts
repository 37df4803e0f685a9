import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FreshetClient } from '../../schemas/client.ts'
import type { SnapshotAnswer, Status } from '../../schemas/http-operations.ts'
import type { SearchAnswer } from '../../schemas/http-search.ts'
import { type DemoProgress, demoDirectory, demoItems, loadDemo } from '../demo-catalog.ts'
import { type Captured, runCli } from '../testing/captured-cli.ts'
import { type ServerProcess, startServerProcess } from '../testing/server-process.ts'

/** The commands against a real server on real storage; the models are replaced, since none of this is about them. */
const env = { FRESHET_STUB_MODEL: 'true', FRESHET_IMAGE_ROOTS: demoDirectory }
const picture = join(demoDirectory, 'images', 'scopia-90.webp')

let scratch: string
let server: ServerProcess

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'freshet-cli-'))
  server = await startServerProcess({ dataDir: join(scratch, 'data'), env })
})
afterAll(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true })
})

const cli = (...commandLine: readonly string[]): Promise<Captured> =>
  runCli(commandLine, { environment: { FRESHET_URL: server.url }, workingDir: scratch })

async function json<T>(...commandLine: readonly string[]): Promise<T> {
  const { out } = await cli(...commandLine, '--json')
  return JSON.parse(out[0]!) as T
}

async function lineFile(name: string, lines: readonly (object | string)[]): Promise<string> {
  const path = join(scratch, name)
  writeFileSync(path, lines.map(line => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''))
  return path
}

const chair = { itemId: 'chair', images: [`file://${picture}`], title: 'Chair \x1b[31m', category: 'Chairs', price: 20 }

describe('the demo catalogue', () => {
  const count = demoItems().length

  test('becomes searchable, and the progress only grows', async () => {
    const seen: DemoProgress[] = []
    const end = await loadDemo(new FreshetClient({ baseUrl: server.url }), progress => seen.push(progress))
    expect(end).toEqual({ total: count, published: count, searchable: count, failed: 0 })
    expect(seen.map(({ searchable }) => searchable)).toEqual(
      [...seen.map(({ searchable }) => searchable)].sort((a, b) => a - b),
    )
    expect((await json<Status>('status')).items).toMatchObject({ searchable: count, pending: 0, failed: 0 })
  })

  test('is left alone the second time, also what was deleted of it', async () => {
    expect((await cli('delete', 'scopia-91', '--wait')).out[0]).toMatch(/^removed {2}scopia-91/)
    const before = await json<Status>('status')
    await loadDemo(new FreshetClient({ baseUrl: server.url }))
    const after = await json<Status>('status')
    expect(after.items).toEqual({ ...before.items, searchable: count - 1, deleted: 1 })
  })
})

describe('publish', () => {
  test('waits, and a receipt tells the rest', async () => {
    const { exitCode, out } = await cli('publish', await lineFile('good.ndjson', [chair, '']), '--wait', '--json')
    expect(exitCode).toBe(0)
    expect(JSON.parse(out[1]!)).toMatchObject({ published: 1, refused: 0, failed: 0 })
    const { receipt } = JSON.parse(out[0]!) as { readonly receipt: string }
    const told = await cli('receipt', receipt)
    expect(told).toMatchObject({ exitCode: 0, err: [] })
    expect(told.out[0]).toMatch(/^searchable {2}chair at version \d+ of partition \d$/)
  })

  test('names refused and failed lines by their number in the file, and publishes the others', async () => {
    const path = await lineFile('mixed.ndjson', [
      'not json',
      '',
      { itemId: 'a' },
      { ...chair, itemId: 'outside', images: ['file:///etc/passwd'] },
      { ...chair, itemId: 'dear', price: 'ten' },
      { ...chair, itemId: 'fine' },
    ])
    const { exitCode, out, err } = await cli('publish', path, '--wait')
    expect(exitCode).toBe(1)
    expect(out[0]).toMatch(/^2 published, 3 refused, 1 searchable or removed, 1 failed in /)
    const named = err.filter(line => line.startsWith('line ')).map(line => line.replace(/: .*\(/, ' ('))
    expect(named).toEqual([
      'line 1 (bad-request)',
      'line 3 (image-missing)',
      'line 5 (bad-request)',
      'line 4 (image-not-allowed)',
    ])
  })

  test('a file that is not there is refused in one line', async () => {
    const { exitCode, err } = await cli('publish', '/nowhere/items.ndjson')
    expect(exitCode).toBe(1)
    expect(err[0]).toContain('/nowhere/items.ndjson cannot be read')
  })
})

describe('search', () => {
  test('by a file and by an item, with filters; no control character reaches the terminal', async () => {
    const byFile = await json<SearchAnswer>('search', picture, '--filter', 'category=Chairs', '--k', '1')
    expect(byFile.results.map(({ item }) => item.category)).toEqual(['Chairs'])
    const byItem = await json<SearchAnswer>('search', 'item:chair', '--k', '200')
    expect(byItem.results.map(({ itemId }) => itemId)).not.toContain('chair')
    const { out } = await cli('search', picture, '--k', '3')
    expect(out.join('\n')).not.toContain('\x1b')
  })

  test("the server's errors come through with their code", async () => {
    const { exitCode, err } = await cli('search', 'item:nobody')
    expect(exitCode).toBe(1)
    expect(err[0]).toMatch(/\(item-not-found\)$/)
  })
})

test('dead letters: list, show, redrive, drop', async () => {
  const listed = await json<{ deadLetters: readonly { id: string; itemId: string }[] }>('dead-letters', 'list')
  const letter = listed.deadLetters.find(({ itemId }) => itemId === 'outside')!
  expect((await cli('dead-letters', 'show', letter.id)).out.join('\n')).toContain('image-not-allowed')
  expect((await cli('dead-letters', 'redrive', letter.id)).out).toEqual([`${letter.id}  queued`])
  expect((await cli('dead-letters', 'drop', '--all')).exitCode).toBe(0)
  expect((await cli('dead-letters', 'drop', '0-999')).err[0]).toMatch(/\(dead-letter-not-found\)$/)
})

const digests = ({ shards }: Status) => shards.flatMap(({ replicas }) => replicas.map(({ digest }) => digest))

test('a backup, restored, holds the same items', async () => {
  expect((await cli('backup', 'backup')).exitCode).toBe(0)
  expect((await cli('restore', 'backup', '--data-dir', 'restored')).exitCode).toBe(0)
  const second = await startServerProcess({ dataDir: join(scratch, 'restored'), env })
  const restored = await new FreshetClient({ baseUrl: second.url }).status()
  await second.stop()
  expect(digests(restored)).toEqual(digests(await json<Status>('status')))
})

test('snapshots of the shards, each in a directory of its own, never over another', async () => {
  const { shards } = await json<SnapshotAnswer>('snapshot', 'snapshots')
  expect(shards).toMatchObject([{ shard: 0, directory: join(scratch, 'snapshots', 'g1-0') }])
  expect(readdirSync(shards[0]!.directory)).toContain('MANIFEST')
  expect(shards[0]!.bytes).toBeGreaterThan(0)
  const again = await cli('snapshot', 'snapshots')
  expect(again.exitCode).toBe(1)
  expect(again.err.join('\n')).toContain('is not empty')
})

test('a server that lost the files of its shard starts from a snapshot', async () => {
  await cli('snapshot', 'seeds')
  await cli('backup', 'backup-2')
  await cli('restore', 'backup-2', '--data-dir', 'restored-2')
  rmSync(join(scratch, 'restored-2', 'shards'), { recursive: true })
  const seeded = { ...env, FRESHET_INDEX_SEEDS: join(scratch, 'seeds') }
  const second = await startServerProcess({ dataDir: join(scratch, 'restored-2'), env: seeded })
  const status = await new FreshetClient({ baseUrl: second.url }).status()
  await second.stop()
  expect(digests(status)).toEqual(digests(await json<Status>('status')))
  expect(status.pipeline.alarms).toEqual([])
  expect(status.shards[0]!.replicas[0]!.checkpoint.writtenAtMs).not.toBeNull()
})

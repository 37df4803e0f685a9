import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type DataFormat, openDataDirectory } from './data-directory.ts'

let path: string

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'freshet-data-'))
})

afterEach(() => rm(path, { recursive: true }))

const format = () => readFile(join(path, 'FORMAT'), 'utf8')
const openOnce = async (dataFormat?: DataFormat) => (await openDataDirectory(path, dataFormat)).close()

test('a new directory is made with its format version, and opens again', async () => {
  const nested = join(path, 'a', 'b')
  const opened = await openDataDirectory(nested)
  expect(opened).toMatchObject({
    path: nested,
    logDirectory: join(nested, 'log'),
    blobDirectory: join(nested, 'blobs'),
  })
  await opened.close()
  expect(await readFile(join(nested, 'FORMAT'), 'utf8')).toBe('1\n')
  await mkdir(join(nested, 'log'))
  await (await openDataDirectory(nested)).close()
})

test('the folders of the local servers and of the roles do not keep a directory from being made', async () => {
  await mkdir(join(path, 'stack'))
  await mkdir(join(path, 'roles'))
  await openOnce()
  expect(await format()).toBe('1\n')
})

test('opening twice in one process is refused as well, and closing frees it', async () => {
  const opened = await openDataDirectory(path)
  await expect(openDataDirectory(path)).rejects.toMatchObject({ code: 'data-locked', details: { pid: process.pid } })
  await opened.close()
  await openOnce()
})

test('a newer format is refused with the step to take, and left alone', async () => {
  await openOnce()
  await writeFile(join(path, 'FORMAT'), '2\n')
  await expect(openDataDirectory(path)).rejects.toMatchObject({
    code: 'data-format',
    details: { found: 2, step: 'start a Freshet that reads format 2' },
  })
  expect(await format()).toBe('2\n')
})

test.each(['', '0\n', '-1\n', '1', 'one\n', '1.5\n', '1\n1\n'])('a FORMAT file of %j is refused', async text => {
  await writeFile(join(path, 'FORMAT'), text)
  await expect(openDataDirectory(path)).rejects.toMatchObject({ code: 'data-format' })
})

test('a directory of something else is refused and left alone', async () => {
  await writeFile(join(path, 'thesis.txt'), 'irreplaceable')
  await expect(openDataDirectory(path)).rejects.toMatchObject({ code: 'data-format', details: { found: null } })
  await expect(format()).rejects.toThrow()
})

test('what other programs of ours made before is no stranger', async () => {
  for (const name of ['stack', 'roles', 'models']) await mkdir(join(path, name))
  await openOnce()
  expect(await format()).toMatch(/^[1-9]/)
})

test('an older format is migrated step by step, each recorded before the next', async () => {
  await openOnce()
  const seen: string[] = []
  const migration = (from: number) => ({
    from,
    migrate: async (directory: string) => {
      seen.push(`${from} of ${directory === path} at ${(await format()).trim()}`)
    },
  })
  await openOnce({ version: 3, migrations: [migration(2), migration(1)] })
  expect(seen).toEqual(['1 of true at 1', '2 of true at 2'])
  expect(await format()).toBe('3\n')
})

test('a migration that fails leaves the format before it, frees the directory, and runs again', async () => {
  await openOnce()
  let runs = 0
  const migrate = async () => {
    if (++runs === 1) throw new Error('out of breath')
  }
  const flaky = { version: 2, migrations: [{ from: 1, migrate }] }
  await expect(openOnce(flaky)).rejects.toThrow('out of breath')
  expect(await format()).toBe('1\n')
  await openOnce(flaky)
  expect(await format()).toBe('2\n')
  expect(runs).toBe(2)
})

test('a format without a migration is refused with the step to take', async () => {
  await openOnce()
  await expect(openOnce({ version: 3, migrations: [{ from: 2, migrate: async () => {} }] })).rejects.toMatchObject({
    code: 'data-format',
    details: { found: 1, step: 'start an older Freshet that migrates format 1, then this one again' },
  })
})

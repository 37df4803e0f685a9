import { mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDataDirectory } from '../topologies/embedded/data-directory.ts'
import { restoreBackup } from './restore.ts'

let root: string
let backup: string
let dataDir: string

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'freshet-restore-'))
  backup = join(root, 'backup')
  dataDir = join(root, 'data')
  const source = await openDataDirectory(backup)
  await mkdir(join(source.blobDirectory, 'ab'), { recursive: true })
  writeFileSync(join(source.blobDirectory, 'ab', 'cd'), 'picture')
  await source.close()
})
afterEach(() => rmSync(root, { recursive: true }))

test('everything of the backup is there afterwards, the marks of its owner are not', async () => {
  const progress: number[] = []
  const bytes = await restoreBackup({ backup, dataDir, onProgress: done => progress.push(done) })
  expect(readFileSync(join(dataDir, 'blobs', 'ab', 'cd'), 'utf8')).toBe('picture')
  expect(progress.at(-1)).toBe(bytes)
  const opened = await openDataDirectory(dataDir)
  await opened.close()
})

test('a directory with anything in it is left alone', async () => {
  await mkdir(dataDir)
  writeFileSync(join(dataDir, 'precious'), '')
  await expect(restoreBackup({ backup, dataDir })).rejects.toMatchObject({ code: 'bad-request' })
  expect(readdirSync(dataDir)).toEqual(['precious'])
})

test('what is no backup is refused before anything is written', async () => {
  unlinkSync(join(backup, 'FORMAT'))
  await expect(restoreBackup({ backup, dataDir })).rejects.toMatchObject({ code: 'bad-request' })
  await expect(restoreBackup({ backup: join(root, 'nowhere'), dataDir })).rejects.toMatchObject({ code: 'bad-request' })
  expect(readdirSync(root)).not.toContain('data')
})

test('a backup of a newer format is refused by name', async () => {
  writeFileSync(join(backup, 'FORMAT'), '99\n')
  await expect(restoreBackup({ backup, dataDir })).rejects.toMatchObject({ code: 'data-format' })
})

test('a copy that was cut short is no data directory', async () => {
  const onProgress = (done: number, total: number): void => {
    if (done < total) throw new Error('cut short')
  }
  await expect(restoreBackup({ backup, dataDir, onProgress })).rejects.toThrow('cut short')
  expect(readdirSync(dataDir)).toEqual(['blobs'])
  await expect(openDataDirectory(dataDir)).rejects.toMatchObject({ code: 'data-format' })
})

test('the data directory may not lie inside the backup', async () => {
  await expect(restoreBackup({ backup, dataDir: join(backup, 'data') })).rejects.toMatchObject({ code: 'bad-request' })
})

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const program = join(import.meta.dirname, 'testing/fill-disk.ts')
/** A small file system of our own, which needs no rights where user namespaces are allowed. */
const inSmallFileSystem = (directory: string, command: string) => [
  '--user',
  '--map-root-user',
  '--mount',
  'sh',
  '-c',
  `mount -t tmpfs -o size=4m tmpfs '${directory}' && ${command}`,
]

test('a full disk refuses writes to every caller, loses nothing, and is left as soon as there is space', async context => {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-full-'))
  try {
    await run('unshare', inSmallFileSystem(directory, 'true')).catch(error => {
      context.skip(`no small file system can be mounted here: ${error.message}`)
    })
    const command = `'${process.execPath}' '${program}' '${directory}'`
    const { stdout } = await run('unshare', inSmallFileSystem(directory, command))
    const seen = JSON.parse(stdout)
    expect(seen).toMatchObject({
      failure: 'storage-full',
      waiting: ['storage-full', 'storage-full', 'storage-full'],
      readWhileFull: seen.acknowledgedWhileFull,
      readAfter: seen.acknowledged,
      readAfterReopening: seen.acknowledged,
    })
    expect(seen.acknowledgedWhileFull).toBeGreaterThan(30)
    expect(seen.acknowledged).toBe(seen.acknowledgedWhileFull + 3)
  } finally {
    await rm(directory, { recursive: true })
  }
})

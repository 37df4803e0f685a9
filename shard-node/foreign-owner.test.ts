import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { makeFiles, type OpenedForeign } from './testing/foreign-files.ts'
import { nobody, whyNoOtherUser } from './testing/other-user.ts'

const program = join(import.meta.dirname, 'testing/foreign-files.ts')

test('files of another user that may only be read are served, and worked on beside', async context => {
  const whyNot = whyNoOtherUser()
  if (whyNot !== null) context.skip(whyNot)
  const parent = await mkdtemp(join(tmpdir(), 'freshet-foreign-'))
  try {
    const directory = join(parent, 'shard')
    await makeFiles(directory)
    await chmod(parent, 0o755)
    await chmod(directory, 0o777)
    for (const file of await readdir(directory)) await chmod(join(directory, file), 0o644)
    const { stdout } = await promisify(execFile)(process.execPath, [program, directory], { uid: nobody, gid: nobody })
    const { alarms, graphs } = JSON.parse(stdout) as OpenedForeign
    expect(graphs).toBeGreaterThan(0)
    expect(alarms).toEqual([])
  } finally {
    await rm(parent, { recursive: true })
  }
})

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openFreeDirectory } from './role-directory.ts'

test('each process of a role has the first directory that no other uses', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'freshet-role-'))
  try {
    const [first, second] = [await openFreeDirectory(dataDir, 'work'), await openFreeDirectory(dataDir, 'work')]
    expect([first.path, second.path]).toEqual([join(dataDir, 'roles/work'), join(dataDir, 'roles/work-2')])
    await first.close()
    const third = await openFreeDirectory(dataDir, 'work')
    expect(third.path).toBe(first.path)
    await Promise.all([second.close(), third.close()])
  } finally {
    await rm(dataDir, { recursive: true })
  }
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { damages, fileKinds } from './testing/damages.ts'
import type { OpenedDamaged } from './testing/open-damaged.ts'

const program = join(import.meta.dirname, 'testing/open-damaged.ts')
/** Without a manifest there is no checkpoint but the one before; nothing says that there was another. */
const unseen = 'MANIFEST missing'

test('no damage of a file ends the process, goes unseen or changes an answer', async () => {
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const opened: OpenedDamaged[] = []
  let begun = ''
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as OpenedDamaged | { readonly begins: string }
    if ('begins' in said) begun = said.begins
    else opened.push(said)
  }
  expect(await exited, begun).toEqual([0, null])
  const named = ({ kind, damage }: OpenedDamaged): string => `${kind} ${damage}`
  expect(opened.map(named)).toEqual(fileKinds.flatMap(kind => damages.map(({ name }) => `${kind} ${name}`)))
  expect(opened.filter(({ problem }) => problem !== null)).toEqual([])
  const silent = opened.filter(({ alarms }) => !alarms.includes('checkpoint-corrupt'))
  expect(silent.map(named)).toEqual([unseen])
})

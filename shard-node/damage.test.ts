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

test.concurrent.each(fileKinds)('no damage of %s ends the process, goes unseen or changes an answer', async kind => {
  const child = spawn(process.execPath, [program, kind], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const opened: OpenedDamaged[] = []
  let begun = ''
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as OpenedDamaged | { readonly begins: string }
    if ('begins' in said) begun = said.begins
    else opened.push(said)
  }
  expect(await exited, `${kind} ${begun}`).toEqual([0, null])
  expect(opened.map(({ damage }) => damage)).toEqual(damages.map(({ name }) => name))
  for (const { damage, alarms, problem } of opened) {
    expect(problem, `${kind} ${damage}`).toBeNull()
    if (`${kind} ${damage}` !== unseen) expect(alarms, `${kind} ${damage}`).toContain('checkpoint-corrupt')
  }
})

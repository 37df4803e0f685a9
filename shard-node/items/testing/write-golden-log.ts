import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ShardFiles } from '../../files/shard-files.ts'
import { fillGolden } from './golden-log.ts'
import { ModelledStore } from './store-comparison.ts'

/** Writes the golden item log of a new format, once: it must open for ever, so it is never written again. */
const target = fileURLToPath(new URL('../../golden/items-1', import.meta.url))
await rm(target, { recursive: true, force: true })
await mkdir(target, { recursive: true })
const modelled = await ModelledStore.create(new ShardFiles(target), { logFileBytes: 2_500, logGarbageBytes: 700 })
await fillGolden(modelled)
const { saved } = await modelled.flush()
await modelled.store.close()
await writeFile(join(target, 'saved.json'), `${JSON.stringify(saved, null, 2)}\n`)
const kept = new Set(['saved.json', ...saved.files.map(({ file }) => file)])
for (const file of await readdir(target)) if (!kept.has(file)) await rm(join(target, file))

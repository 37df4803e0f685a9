import { cp, readdir, readFile, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkpointWithGraph, contentOf, fill, flipBit } from './testing/checkpoint-content.ts'
import { ShardOnLog } from './testing/shard-on-log.ts'

let pristine: string
let whole: ShardOnLog
let before: unknown

beforeAll(async () => {
  whole = await ShardOnLog.create(16)
  await whole.open()
  await fill(whole, 1)
  await checkpointWithGraph(whole)
  pristine = join(whole.directory, 'pristine')
  await whole.node.exportTo(pristine)
  await whole.node.close()
  before = await contentOf(whole, await whole.open())
})
afterAll(() => whole.dispose())

const damages: Readonly<Record<string, (path: string) => Promise<void>>> = {
  'is empty': path => truncate(path, 0),
  'lacks its last byte': async path => truncate(path, (await readFile(path)).length - 1),
  'is cut in half': async path => truncate(path, Math.floor((await readFile(path)).length / 2)),
  'has one bit flipped near its start': path => flipBit(path, 0.02),
  'has one bit flipped in the middle': path => flipBit(path, 0.5),
  'is missing': path => rm(path),
}
const cases = ['items', 'rows', 'graph', 'MANIFEST'].flatMap(file =>
  Object.keys(damages).map(damage => [file, damage] as const),
)

test.each(cases)('%s %s: the process lives, the content is whole, the damage is told', async (file, damage) => {
  const directory = join(whole.directory, `${file} ${damage}`)
  await cp(pristine, directory, { recursive: true })
  const name = (await readdir(directory)).find(each => new RegExp(`^${file}(-\\d+)?$`).test(each))
  await damages[damage]!(join(directory, name!))
  whole.alarms.length = 0
  const node = await whole.open({ directory })
  expect(await contentOf(whole, node)).toEqual(before)
  await node.close()
  const isUnseen = file === 'MANIFEST' && damage === 'is missing'
  expect(whole.alarms.map(({ code }) => code)).toEqual(isUnseen ? [] : ['checkpoint-corrupt'])
  const setAside = (await readdir(directory)).filter(each => each.endsWith('.corrupt'))
  expect(setAside.length > 0).toBe(damage !== 'is missing' || file === 'items' || file === 'rows')
})

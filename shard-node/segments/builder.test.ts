import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { constants, getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ShardFiles } from '../files/shard-files.ts'
import type { BuildFault } from '../testing/failing-build-process.ts'
import type { HurriedBuild } from '../testing/hurried-build.ts'
import { nobody, whyNoOtherUser } from '../testing/other-user.ts'
import { type WrittenInputs, writeInputs } from '../testing/segment-inputs.ts'
import type { BuildRequest } from './build-messages.ts'
import { Builder } from './builder.ts'
import { buildSegment } from './segment-build.ts'

let files: ShardFiles
let written: WrittenInputs
let request: Omit<BuildRequest, 'directory'>
const inputNames = ['rows-1', 'rows-2']

beforeEach(async () => {
  files = new ShardFiles(await mkdtemp(join(tmpdir(), 'freshet-builder-')))
  written = await writeInputs(files, { seed: 11, segments: 2, rows: 400, items: 600 })
  request = { id: 7, inputs: written.inputs, graph: { connectivity: 12, expansionAdd: 64 } }
})
afterEach(() => rm(files.directory, { recursive: true }))

function failingBuilder(step: number, fault: BuildFault): Builder {
  const path = fileURLToPath(new URL('../testing/failing-build-process.ts', import.meta.url))
  return new Builder({ files, program: { path, args: [String(step), fault] } })
}

const names = async (): Promise<string[]> => (await files.list()).sort()

test('a build process builds what this one would, telling how far it is', async () => {
  const builder = new Builder({ files })
  const progress: string[] = []
  const segment = await builder.build(request, (rows, of) => progress.push(`${rows}/${of}`))
  expect(segment.rows.rows).toBe(written.kept.length)
  expect(progress).toEqual([256, 512, 569].map(rows => `${rows}/569`))
  const own = await buildSegment(files, { ...request, id: 8, directory: files.directory }, () => {})
  expect(segment.rows).toEqual({ ...own.rows, file: 'rows-7' })
  expect(await names()).toEqual(['graph-7', 'graph-8', ...inputNames, 'rows-7', 'rows-8'])
  expect(builder.pid).toBeNull()
  await builder.close()
})

test.skipIf(process.getuid?.() !== 0)(
  'a build is raised when it is hurried, before or after it has begun (needs root)',
  async () => {
    const { PRIORITY_LOW, PRIORITY_NORMAL } = constants.priority
    for (const isEarly of [true, false]) {
      const builder = new Builder({ files })
      const nice: number[] = []
      const building = builder.build(request, () => {
        nice.push(getPriority(builder.pid!))
        builder.hurry()
      })
      if (isEarly) builder.hurry()
      await building
      expect(nice[0]).toBe(isEarly ? PRIORITY_NORMAL : PRIORITY_LOW)
      expect(nice.at(-1)).toBe(PRIORITY_NORMAL)
    }
  },
)

test('a build that may not be raised begins anew when it is hurried', async context => {
  const whyNot = whyNoOtherUser()
  if (whyNot !== null) context.skip(whyNot)
  await chmod(files.directory, 0o777)
  const program = join(import.meta.dirname, '../testing/hurried-build.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [program, files.directory], {
    uid: nobody,
    gid: nobody,
  })
  const { processes, rows, expectedRows } = JSON.parse(stdout) as HurriedBuild
  expect({ processes, rows }).toEqual({ processes: 2, rows: expectedRows })
})

describe('a build that fails leaves nothing', () => {
  test.each(['SIGKILL', 'SIGTERM'] as const)('%s to the process while it adds rows to the graph', async signal => {
    const { inputs } = await writeInputs(files, { seed: 12, segments: 2, rows: 8_000, items: 30_000 })
    const builder = new Builder({ files })
    const building = builder.build({ ...request, inputs }, () => process.kill(builder.pid!, signal))
    await expect(building).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining(signal) })
    expect(await names()).toEqual(inputNames)
    expect((await builder.build({ ...request, inputs, graph: null })).id).toBe(7)
  })

  test('it dies at a disk step', async () => {
    const steps: string[] = []
    const recording = new ShardFiles(files.directory, (step, file) => steps.push(`${step} ${file}`))
    const own = await buildSegment(recording, { ...request, directory: files.directory }, () => {})
    for (const { file } of [own.rows, own.graph!]) await files.remove(file)
    const distinct = steps.flatMap((step, i) => (step === steps[i - 1] ? [] : [i + 1]))
    expect(distinct).toHaveLength(10)
    for (const step of distinct) {
      const building = failingBuilder(step, 'crash').build(request)
      await expect(building).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('SIGKILL') })
      expect(await names()).toEqual(inputNames)
    }
  })

  test('the disk is full', async () => {
    for (const step of [1, 5])
      await expect(failingBuilder(step, 'full').build(request)).rejects.toMatchObject({ code: 'storage-full' })
    expect(await names()).toEqual(inputNames)
  })

  test('an input is missing', async () => {
    await files.remove('rows-2')
    await expect(new Builder({ files }).build(request)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
    expect(await names()).toEqual(['rows-1'])
  })

  test('the builder is closed, for good', async () => {
    const builder = new Builder({ files })
    const building = builder.build(request)
    const [outcome] = await Promise.allSettled([building, builder.close()])
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'not-ready' } })
    expect(await names()).toEqual(inputNames)
    await expect(builder.build(request)).rejects.toMatchObject({ code: 'not-ready' })
  })

  test('the process tells nothing for too long', async () => {
    const path = fileURLToPath(new URL('../testing/silent-process.ts', import.meta.url))
    const builder = new Builder({ files, program: { path, args: [] }, silenceMs: 50 })
    await expect(builder.build(request)).rejects.toThrow(/fell silent/)
  })
})

test('one build at a time', async () => {
  const builder = new Builder({ files })
  const building = builder.build(request)
  await expect(builder.build({ ...request, id: 8 })).rejects.toMatchObject({ code: 'internal' })
  expect((await building).id).toBe(7)
})

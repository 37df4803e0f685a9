import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import { bundledModels } from '../workers/model-manifest.ts'
import { demoDirectory } from './demo-catalog.ts'
import { runCli } from './testing/captured-cli.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'

let directory: string
const servers: ServerProcess[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-added-model-'))
})
afterEach(async () => {
  await Promise.all(servers.splice(0).map(server => server.stop()))
  await rm(directory, { recursive: true, force: true })
})

async function serve(dataDir: string): Promise<{ readonly server: ServerProcess; readonly client: FreshetClient }> {
  const server = await startServerProcess({ dataDir, env: { FRESHET_MODEL: 'mine' } })
  servers.push(server)
  return { server, client: new FreshetClient({ baseUrl: server.url }) }
}

test('a model of others is added, served, and part of a backup', async () => {
  const given = join(directory, 'given')
  await cp(bundledModels, given, { recursive: true })
  const manifest = JSON.parse(await readFile(join(given, 'manifest.json'), 'utf8'))
  // Without a detector: every picture is one object.
  await writeFile(
    join(given, 'manifest.json'),
    JSON.stringify({ ...manifest, sets: { mine: { embedder: 'embedder-v2' } } }),
  )
  const dataDir = join(directory, 'data')
  const added = await runCli(['model', 'add', given, '--data-dir', dataDir, '--json'])
  expect(added).toMatchObject({ exitCode: 0, err: [] })
  const { fingerprint, registered } = JSON.parse(added.out[0]!)
  expect(registered).toBe(false)
  const first = await serve(dataDir)
  const { port } = new URL(first.server.url)
  const again = await runCli(['model', 'add', given, '--data-dir', dataDir, '--port', port, '--json'])
  expect(JSON.parse(again.out[0]!)).toMatchObject({ isNew: false, registered: true })
  const picture = await readFile(join(demoDirectory, 'images', 'blendswap-cc-0-1.webp'))
  const { blob } = await first.client.putBlob(picture)
  await first.client.publishAndWait({ itemId: 'chair', title: 'Chair', images: [blob] })
  await first.client.backup(join(directory, 'backup'))
  await first.server.stop()
  const { client } = await serve(join(directory, 'backup'))
  const answer = await client.searchImage(picture)
  expect(answer).toMatchObject({ model: 'mine', objects: [], results: [{ itemId: 'chair' }] })
  expect(answer.results[0]!.similarity).toBeGreaterThan(0.99)
  const models = await runCli(['model', 'list', '--data-dir', join(directory, 'backup'), '--json'])
  expect(JSON.parse(models.out[0]!).models).toContainEqual(
    expect.objectContaining({ model: 'mine', fingerprint, detector: null }),
  )
})

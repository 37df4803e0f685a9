import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { FreshetClient } from '../../schemas/client.ts'
import { demoDirectory, demoItems } from '../demo-catalog.ts'
import { freePort, pssBytes } from '../testing/server-process.ts'
import { hardware, measure, type Report } from './report.ts'
import { note, untilStatus, withScratch } from './scratch.ts'

const project = fileURLToPath(new URL('../..', import.meta.url))

/** `npm start` itself: the first one, which indexes the demo, and a later one. */
export async function startBench(): Promise<Report> {
  return withScratch(async dataDir => {
    const count = demoItems().length
    const firstSeconds = await withNpmStart(dataDir, async (client, began) => {
      await untilStatus(client, status => status.items.searchable === count)
      return (performance.now() - began) / 1_000
    })
    note(`first start: ${count} products searchable after ${firstSeconds.toFixed(1)} s`)
    const later = await withNpmStart(dataDir, async (client, began, pid) => {
      const pageSeconds = (performance.now() - began) / 1_000
      await untilStatus(client, status => status.ready && status.items.searchable === count)
      const searchableSeconds = (performance.now() - began) / 1_000
      await client.searchImage(readFileSync(join(demoDirectory, 'rooms', 'room-000.jpg')))
      await delay(3_000)
      return { pageSeconds, searchableSeconds, pss: pssBytes(pid) }
    })
    return {
      bench: 'start',
      hardware: hardware(),
      data: `the ${count} bundled products`,
      seed: null,
      baseline: 'absolute: the limits a person notices',
      measures: [
        measure('first start to all products searchable', firstSeconds, 's', { atMost: 60 }),
        measure('later start to the page', later.pageSeconds, 's', { atMost: 3 }),
        measure('later start to ready with all products', later.searchableSeconds, 's'),
        measure('sum of PSS, idle after the first search', later.pss / 2 ** 20, 'MiB', {
          atMost: 1_000_000_000 / 2 ** 20,
        }),
      ],
    }
  })
}

/** Runs the body once the page answers; `began` is the moment of the spawn. */
async function withNpmStart<T>(
  dataDir: string,
  body: (client: FreshetClient, began: number, pid: number) => Promise<T>,
): Promise<T> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const began = performance.now()
  const npm = spawn('npm', ['start'], {
    cwd: project,
    env: { ...process.env, FRESHET_DATA_DIR: dataDir, FRESHET_PORT: String(port) },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  try {
    await untilPage(url, npm)
    return await body(new FreshetClient({ baseUrl: url }), began, npm.pid!)
  } finally {
    await end(npm)
  }
}

async function untilPage(url: string, npm: ChildProcess): Promise<void> {
  for (;;) {
    if (npm.exitCode !== null) throw new Error(`npm start exited with ${npm.exitCode}`)
    const answered = await fetch(url).then(
      response => response.ok,
      () => false,
    )
    if (answered) return
    await delay(10)
  }
}

async function end(npm: ChildProcess): Promise<void> {
  if (npm.exitCode !== null || npm.signalCode !== null) return
  const exited = new Promise(resolve => npm.once('exit', resolve))
  npm.kill('SIGTERM')
  await exited
}

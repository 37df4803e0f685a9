import { availableParallelism } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { FreshetClient } from '../../../schemas/client.ts'
import { demoItems } from '../../demo-catalog.ts'
import { BareLoop } from '../bare-loop.ts'
import { median } from '../figures.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note, withServer } from '../scratch.ts'
import { builtItems, type GenerationBenchOptions, publishFurniture, reason, young } from './generation-steps.ts'

const model = 'v2'
const lengths = {
  full: { pairs: 3, items: 820 },
  quick: { pairs: 1, items: 200 },
  smoke: { pairs: 1, items: 24 },
} as const
const lookEveryMs = 250

/** A second generation of the bundled furniture, with nothing else to do, against the same models in bare loops. */
export async function rebuildBench({ length }: GenerationBenchOptions): Promise<Report> {
  const { pairs, items: count } = lengths[length]
  const processes = Math.min(availableParallelism(), 4)
  const paths = demoItems()
    .slice(0, count)
    .map(({ images }) => fileURLToPath(images![0]!))
  const bareRates: number[] = []
  const rebuildRates: number[] = []
  for (let pair = 1; pair <= pairs; pair++) {
    bareRates.push(await bareRate(paths, processes))
    rebuildRates.push(await rebuildRate(count))
    note(`pair ${pair}: bare ${bareRates.at(-1)!.toFixed(1)}/s, rebuild ${rebuildRates.at(-1)!.toFixed(1)}/s`)
  }
  const ratio = median(rebuildRates.map((rate, i) => rate / bareRates[i]!))
  return {
    bench: 'rebuild',
    hardware: hardware(),
    data: `${count} of the bundled products, live with v1, built anew with ${model} from the stored pictures; from the first item built to the last, no searches; ${pairs} interleaved pairs on new data directories`,
    seed: null,
    baseline: `decode + detect + crop + embed of the same pictures with ${model} in bare loops, ${processes} processes, models loaded before`,
    measures: [
      measure('rebuild / bare loop', ratio, '', { atLeast: 0.85 }),
      measure('rebuild', median(rebuildRates), 'items/s'),
      measure('bare loop', median(bareRates), 'items/s'),
    ],
  }
}

async function bareRate(paths: readonly string[], processes: number): Promise<number> {
  const bare = await BareLoop.open(processes, model)
  try {
    return paths.length / ((await bare.indexAll(paths)) / 1_000)
  } finally {
    await bare.close()
  }
}

async function rebuildRate(count: number): Promise<number> {
  return withServer({}, async (_server, client) => {
    await publishFurniture(client, count)
    await client.buildGeneration({ model, generation: young, reason })
    const first = await look(client, 1)
    const last = await look(client, count)
    return (last.built - first.built) / ((last.atMs - first.atMs) / 1_000)
  })
}

/** The first look that finds so many built. */
async function look(
  client: FreshetClient,
  atLeast: number,
): Promise<{ readonly built: number; readonly atMs: number }> {
  for (;;) {
    const built = await builtItems(client)
    if (built >= atLeast) return { built, atMs: performance.now() }
    await pause(lookEveryMs)
  }
}

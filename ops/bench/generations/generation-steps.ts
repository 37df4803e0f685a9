import { setTimeout as pause } from 'node:timers/promises'
import type { FreshetClient } from '../../../schemas/client.ts'
import type { ProofLine, ProofResult } from '../../../schemas/http-generations.ts'
import type { Item } from '../../../schemas/http-items.ts'
import { demoItems } from '../../demo-catalog.ts'
import { publishAll, untilStatus } from '../scratch.ts'

/** `full`: what the goals are for. `quick`: shows that a bench works. `smoke`: every step once, for the tests. */
export interface GenerationBenchOptions {
  readonly length: 'full' | 'quick' | 'smoke'
}

export const old = 'g1'
export const young = 'g2'
export const reason = 'a bench'

/** The first items of the bundled furniture, searchable in the first generation. */
export async function publishFurniture(client: FreshetClient, count: number): Promise<readonly Item[]> {
  const items = demoItems().slice(0, count)
  await publishAll(client, items)
  await untilStatus(client, status => status.items.searchable === items.length)
  return items
}

/** How many items the generation that is built has now. */
export async function builtItems(client: FreshetClient): Promise<number> {
  const { items } = await client.generation(young)
  return items.searchable + items.failed
}

export async function untilBuilt(client: FreshetClient, count: number, withinMs = 900_000): Promise<void> {
  const deadline = performance.now() + withinMs
  const isBuilt = async () => {
    const { items, rebuild } = await client.generation(young)
    return items.searchable + items.failed >= count && rebuild.done >= rebuild.total
  }
  while (!(await isBuilt())) {
    if (performance.now() > deadline) throw new Error(`${young} was not built within ${withinMs} ms`)
    await pause(500)
  }
}

/** @throws Error with why it does not hold */
export async function proven(lines: AsyncIterable<ProofLine>): Promise<ProofResult> {
  for await (const line of lines) {
    if (!('result' in line)) continue
    if (!line.result.passed) throw new Error(line.result.reasons.join('; '))
    return line.result
  }
  throw new Error('no result')
}

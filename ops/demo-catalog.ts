import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { FreshetClient } from '../schemas/client.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Item } from '../schemas/http-items.ts'
import { awaitReceipts } from './await-receipts.ts'

/** The bundled furniture: catalogue, other views and rooms. An image root of the demo. */
export const demoDirectory = fileURLToPath(new URL('./catalog/furniture', import.meta.url))

export interface DemoProgress {
  readonly total: number
  readonly published: number
  readonly searchable: number
  readonly failed: number
}

/**
 * Publishes the furniture through the bulk endpoint and resolves when each item is searchable or has failed. Items
 * that are there already are left as they are; a catalogue with as many items as the furniture has is left alone, so
 * that a deleted item stays deleted.
 * @throws FreshetError when the server refuses an item or goes away
 */
export async function loadDemo(
  client: FreshetClient,
  onProgress: (progress: DemoProgress) => void = () => {},
): Promise<DemoProgress> {
  const items = demoItems()
  const missing = await missingItems(client, items)
  const there = items.length - missing.length
  let progress: DemoProgress = { total: items.length, published: there, searchable: there, failed: 0 }
  const report = (change: Partial<DemoProgress>): void => {
    progress = { ...progress, ...change }
    onProgress(progress)
  }
  report({})
  const receipts: string[] = []
  for await (const answer of client.bulk(missing)) {
    if ('error' in answer) throw new FreshetError(answer.error.code, answer.error.message)
    receipts.push(answer.receipt)
    report({ published: there + receipts.length })
  }
  await awaitReceipts(client, receipts, ({ settled, failed }) => {
    report({ searchable: there + settled - failed, failed })
  })
  return progress
}

/** The furniture as items. Price, currency, regions and availability do not exist in the source: they are made up. */
export function demoItems(): readonly Item[] {
  const lines = readFileSync(join(demoDirectory, 'catalog.jsonl'), 'utf8').trimEnd().split('\n')
  return lines.map(line => itemOf(JSON.parse(line) as CatalogLine))
}

interface CatalogLine {
  readonly id: string
  readonly title: string
  readonly category: string
  readonly tags: readonly string[]
  readonly creator: string
  readonly licence: string
  readonly widthCm: number
  readonly depthCm: number
  readonly heightCm: number
  /** Relative to the directory. */
  readonly image: string
}

function itemOf(line: CatalogLine): Item {
  const { widthCm, depthCm, heightCm, creator, licence } = line
  const tags = line.tags.join(', ')
  return {
    itemId: line.id,
    title: unescaped(line.title),
    category: line.category,
    images: [pathToFileURL(join(demoDirectory, line.image)).href],
    ...madeUp(line),
    attributes: { tags, creator, licence, widthCm, depthCm, heightCm, madeUp: 'price, regions, availability' },
  }
}

/** Three titles of the source hold a euro sign as the escape of a Java properties file. */
function unescaped(title: string): string {
  return title.replace(/\\u([0-9a-f]{4})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
}

/** What a shop would know and the source does not: a function of id and size, so that every run has the same shop. */
function madeUp({
  id,
  widthCm,
  depthCm,
  heightCm,
}: CatalogLine): Pick<Item, 'price' | 'currency' | 'regions' | 'available'> {
  const [dear, sold, stock] = createHash('sha256').update(id).digest()
  const litres = (widthCm * depthCm * heightCm) / 1_000
  const price = Math.round(5 + 4 * Math.sqrt(litres) * (0.6 + dear! / 320))
  const regions = ['de', 'fr', 'gb', 'us'].filter((_, bit) => bit === sold! % 4 || (sold! >> bit) & 1)
  return { price, currency: 'EUR', regions, available: stock! >= 26 }
}

async function missingItems(client: FreshetClient, items: readonly Item[]): Promise<readonly Item[]> {
  const { searchable, pending, failed, deleted } = (await client.status()).items
  const known = searchable + pending + failed + deleted
  if (known >= items.length) return []
  if (known === 0) return items
  const missing: Item[] = []
  for (const item of items) if (!(await isThere(client, item.itemId))) missing.push(item)
  return missing
}

async function isThere(client: FreshetClient, itemId: string): Promise<boolean> {
  try {
    await client.item(itemId)
    return true
  } catch (thrown) {
    if (thrown instanceof FreshetError && thrown.code === 'item-not-found') return false
    throw thrown
  }
}

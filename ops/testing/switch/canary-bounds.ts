import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const shipped = new URL('../../../topologies/generations/canary/canary-bounds.json', import.meta.url)

/**
 * The bounds that Freshet ships, but for times, which on a machine that tests share say nothing, and for what is named
 * here. Resolves with the file's path.
 */
export function writeBounds(directory: string, without: readonly string[] = []): string {
  const file = JSON.parse(readFileSync(shipped, 'utf8')) as { readonly bounds: readonly { readonly measure: string }[] }
  const bounds = file.bounds.filter(({ measure }) => !measure.startsWith('latency.') && !without.includes(measure))
  const path = join(directory, 'canary-bounds.json')
  writeFileSync(path, JSON.stringify({ ...file, name: 'without-times', bounds }))
  return path
}

/** The stub models look at no pixel: to them a crop is another picture, and categories mean nothing. */
export const beyondStubs: readonly string[] = ['picture.cropFound@10', 'neighbours.sameCategory@10']

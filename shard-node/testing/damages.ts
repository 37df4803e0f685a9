import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Damage {
  readonly name: string
  readonly apply: (path: string, other: string) => void
}

/** The kinds of files of a checkpoint, by the beginnings of their names. */
export const fileKinds = ['MANIFEST', 'items', 'rows', 'graph'] as const
export type FileKind = (typeof fileKinds)[number]

const flips = [0, 0.01, 0.1, 0.33, 0.6, 0.9, 1].map(
  (at): Damage => ({ name: `a bit flipped at ${at * 100} %`, apply: path => flipBit(path, at) }),
)

const cuts = [0.02, 0.5, 0.9].map(
  (at): Damage => ({ name: `cut at ${at * 100} %`, apply: path => truncateSync(path, Math.floor(sizeOf(path) * at)) }),
)

export const damages: readonly Damage[] = [
  ...flips,
  ...cuts,
  { name: 'without its last byte', apply: path => truncateSync(path, sizeOf(path) - 1) },
  { name: 'empty', apply: path => truncateSync(path, 0) },
  { name: 'missing', apply: path => rmSync(path) },
  { name: 'swapped with another', apply: swap },
  { name: 'overwritten by text', apply: path => writeFileSync(path, 'text '.repeat(Math.ceil(sizeOf(path) / 5))) },
]

/**
 * Files of a kind that the newest checkpoint names, the largest first: those that only the one before it reads may be
 * as large, and what is damaged there is rightly not noticed.
 */
export function filesOfKind(directory: string, kind: FileKind): string[] {
  if (kind === 'MANIFEST') return [join(directory, kind)]
  const manifest = readFileSync(join(directory, 'MANIFEST'), 'utf8')
  return readdirSync(directory)
    .filter(name => name.startsWith(`${kind}-`) && manifest.includes(`"${name}"`))
    .map(name => join(directory, name))
    .sort((a, b) => sizeOf(b) - sizeOf(a))
}

function flipBit(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes[Math.min(bytes.length - 1, Math.floor(bytes.length * at))]! ^= 4
  writeFileSync(path, bytes)
}

function swap(path: string, other: string): void {
  copyFileSync(path, `${path}.swap`)
  renameSync(other, path)
  renameSync(`${path}.swap`, other)
}

function sizeOf(path: string): number {
  return readFileSync(path).length
}

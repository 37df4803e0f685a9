import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { note } from '../scratch.ts'

/** A project of its own, so that what the product is compared with never comes with the product. */
const peersFolder = fileURLToPath(new URL('../peers', import.meta.url))
export const requirePeer = createRequire(new URL('../peers/package.json', import.meta.url))

/** Why a package cannot be used; null when it can. */
export function peerMissing(specifier: string): string | null {
  try {
    requirePeer(specifier)
    return null
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0]! : String(error)
  }
}

/**
 * Installs the packages by their lock file, unless they are there. Optional ones are left out: they are for other
 * platforms or for features that are not compared. A failure shows when a package is looked for.
 */
export function installPeers(specifiers: readonly string[]): void {
  if (specifiers.every(specifier => peerMissing(specifier) === null)) return
  note(`installing ${specifiers.join(', ')} into ops/bench/peers/node_modules (about 210 MB), for this bench alone`)
  const { status, stderr } = spawnSync('npm', ['install', '--no-save', '--omit=optional', '--no-audit', '--no-fund'], {
    cwd: peersFolder,
    encoding: 'utf8',
  })
  if (status !== 0) note(`npm install failed: ${stderr?.trim().split('\n').at(-1) ?? 'npm was not found'}`)
}

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const entry = fileURLToPath(new URL('../freshet.ts', import.meta.url))

/** Runs a command of `freshet` in a process of its own; what it printed. @throws Error with that when it fails */
export async function runFreshet(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return promisify(execFile)(process.execPath, [entry, ...args], { env: { ...process.env, ...env } })
}

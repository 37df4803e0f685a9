import { statSync } from 'node:fs'
import { dirname } from 'node:path'

/** A user without rights of its own. */
export const nobody = 65_534

/** Why no process of another user can be started from this checkout; null when one can. */
export function whyNoOtherUser(): string | null {
  if (process.getuid?.() !== 0) return 'only root can be another user'
  const closed = [...ancestorsOf(process.execPath), ...ancestorsOf(import.meta.filename)].find(
    directory => (statSync(directory).mode & 0o001) === 0,
  )
  return closed === undefined ? null : `another user cannot enter ${closed}`
}

function ancestorsOf(path: string): readonly string[] {
  const parent = dirname(path)
  return parent === path ? [] : [parent, ...ancestorsOf(parent)]
}

import type { Generation } from '../../schemas/ids.ts'

/** Consumer group of a generation's dispatch processes on the catalog topic. */
export function dispatchGroup(generation: Generation): string {
  return `dispatch-${generation}`
}

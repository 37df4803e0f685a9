import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

let collect: (() => void) | null = null

/**
 * Runs a full garbage collection of this thread. Row memory and graph views have no close: they are given back when
 * the collector finds them unused, and it does not look for them by itself, because it counts the few bytes of their
 * objects and not the many megabytes behind them.
 */
export function collectGarbage(): void {
  if (collect === null) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void
  }
  collect()
}

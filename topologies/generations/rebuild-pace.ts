/** How the generations that answer queries fare while another is built. */
export interface LiveLoad {
  /** Of the stalest ready replica that answers queries, ms. */
  readonly indexAgeMs: number
  /** A high quantile of their recent searches, ms; null when there are none to tell by. */
  readonly searchMs: number | null
  /** Images of the backfill done in the last second. */
  readonly imagesPerSecond: number
}

export interface PaceBounds {
  /** Above it the backfill slows down, ms. */
  readonly maxIndexAgeMs: number
  /** Above so many times what searches took before the rebuild it slows down. */
  readonly maxSearchRatio: number
  /** Never slower, images a second: a rebuild that stands still never ends. */
  readonly minImagesPerSecond: number
}

export interface RebuildPace {
  /** Images of the backfill a second; null: as many as there are workers for. */
  readonly imagesPerSecond: number | null
  /** What searches take while nothing is built, ms; null before the first. */
  readonly steadySearchMs: number | null
  /** Why it is slower than it could be. */
  readonly throttledBy: 'index-age' | 'search-latency' | null
}

export const defaultPaceBounds: PaceBounds = { maxIndexAgeMs: 2_000, maxSearchRatio: 1.5, minImagesPerSecond: 1 }

export const initialPace: RebuildPace = { imagesPerSecond: null, steadySearchMs: null, throttledBy: null }

/** Share of a new sample in what searches take in steady state. */
const learning = 0.1
const slowDown = 0.7
const speedUp = 1.1
/** A bound that is so far above what is done bounds nothing. */
const boundless = 2

/** Remembers what searches take while nothing is built. */
export function learnSteady(pace: RebuildPace, { searchMs }: LiveLoad): RebuildPace {
  if (searchMs === null) return { ...initialPace, steadySearchMs: pace.steadySearchMs }
  const before = pace.steadySearchMs ?? searchMs
  return { ...initialPace, steadySearchMs: before + learning * (searchMs - before) }
}

/**
 * The pace for the next second: additive increase, multiplicative decrease, as TCP shares a line (Chiu and Jain,
 * 1989). Live work has priority in the queue already; this is about what priority cannot do, the processor that
 * embedding and searching share.
 */
export function nextPace(pace: RebuildPace, load: LiveLoad, bounds: PaceBounds = defaultPaceBounds): RebuildPace {
  const throttledBy = reasonOf(pace, load, bounds)
  const now = Math.min(pace.imagesPerSecond ?? load.imagesPerSecond, load.imagesPerSecond)
  if (throttledBy !== null)
    return { ...pace, throttledBy, imagesPerSecond: Math.max(bounds.minImagesPerSecond, now * slowDown) }
  if (pace.imagesPerSecond === null) return { ...pace, throttledBy: null }
  const faster = pace.imagesPerSecond * speedUp + bounds.minImagesPerSecond
  const isBoundless = faster > boundless * load.imagesPerSecond + 10 * bounds.minImagesPerSecond
  return { ...pace, throttledBy: null, imagesPerSecond: isBoundless ? null : faster }
}

function reasonOf(pace: RebuildPace, load: LiveLoad, bounds: PaceBounds): RebuildPace['throttledBy'] {
  if (load.indexAgeMs > bounds.maxIndexAgeMs) return 'index-age'
  const { steadySearchMs } = pace
  if (steadySearchMs === null || load.searchMs === null) return null
  return load.searchMs > bounds.maxSearchRatio * steadySearchMs ? 'search-latency' : null
}

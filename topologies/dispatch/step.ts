import type { EmbedJob } from '../../schemas/embed-job.ts'
import { mutationKey } from '../../schemas/mutation.ts'
import { onCatalogRecord } from './catalog-step.ts'
import {
  type DispatchBounds,
  type DispatchInput,
  type DispatchState,
  type Effects,
  entryOf,
  type LetterAppend,
  type MutationRecord,
  newEffects,
  newPartitionState,
  type RedriveOutcome,
  type StepInProgress,
} from './dispatch-state.ts'
import { issueJob } from './image-job.ts'
import { emptyEntry, type ImagePart } from './item-entry.ts'
import { onMutationRecord } from './mutation-step.ts'
import { isHeldByPace, refillAllowance, setPace } from './pace.ts'
import { noteEnd, reissueOverdue, reportProgress, sweepRemovals } from './timed-step.ts'

/**
 * The dispatcher as a function: what is read goes in, what has to be written comes out. No I/O, clock, randomness or
 * promise; time comes with the input. See `DispatchState` for who owns the state.
 */
export function step(state: DispatchState, input: DispatchInput): Effects {
  const inProgress: StepInProgress = { state, effects: newEffects() }
  if (state.stopped) return inProgress.effects
  state.nowMs = Math.max(state.nowMs, input.nowMs)
  refillAllowance(state)
  apply(inProgress, input)
  if (!state.stopped) {
    reportProgress(inProgress)
    controlFlow(inProgress)
  }
  return inProgress.effects
}

function apply(inProgress: StepInProgress, input: DispatchInput): void {
  const { state, effects } = inProgress
  switch (input.type) {
    case 'assignment':
      assign(inProgress, input)
      return
    case 'catalog':
      readCatalog(inProgress, input)
      return
    case 'mutations':
      readMutations(inProgress, input.records)
      return
    case 'tick':
      reissueOverdue(inProgress)
      return
    case 'ends':
      for (const [number, end] of input.ends) {
        const partition = state.partitions.get(number)
        if (partition === undefined) continue
        partition.end = end
        noteEnd(inProgress, partition, null)
      }
      return
    case 'sweep':
      sweepRemovals(inProgress, input.itemIds)
      return
    case 'redrive':
      effects.redriven = redrive(inProgress, input.job)
      return
    case 'pace':
      setPace(state, input.pace)
      return
    case 'lettersWritten':
      onLettersWritten(inProgress, input.letters)
  }
}

/** What is lost is forgotten: its next owner reads from the commit. */
function assign(inProgress: StepInProgress, assignment: Extract<DispatchInput, { type: 'assignment' }>): void {
  const { lost, gained, committed } = assignment
  const { partitions } = inProgress.state
  for (const partition of lost) partitions.delete(partition)
  for (const [number, offset] of committed) {
    const partition = partitions.get(number)
    if (partition === undefined) continue
    partition.committed = offset
    if (offset <= partition.window.position) continue
    // Another had it meanwhile: it has found the marker, and completed what is below.
    partition.expectMarker = false
    partition.window.passTo(offset)
    noteEnd(inProgress, partition, null)
  }
  for (const one of gained) {
    const partition = newPartitionState(one)
    partitions.set(one.partition, partition)
    noteEnd(inProgress, partition, null)
  }
}

/** Records of a partition that is not, or no longer, assigned are another instance's. */
function readCatalog(
  inProgress: StepInProgress,
  { records, isTail = false }: Extract<DispatchInput, { type: 'catalog' }>,
): void {
  const { state } = inProgress
  for (const one of records) {
    const { offset, appendTimeMs } = one.record
    const partition = state.partitions.get(one.record.partition)
    if (partition === undefined) continue
    if (!isTail && partition.window.tailOf(offset) !== null) partition.window.join()
    onCatalogRecord(inProgress, partition, one)
    if (state.stopped) return
    // What waits to be read is older than the tail.
    noteEnd(inProgress, partition, partition.window.tailOf(offset) === null ? appendTimeMs : null)
  }
}

function readMutations(inProgress: StepInProgress, records: readonly MutationRecord[]): void {
  for (const one of records) {
    const partition = inProgress.state.partitions.get(one.record.partition)
    if (partition) onMutationRecord(inProgress, partition, one)
  }
}

/** The job again at its original version, unless something newer was seen: then it would bring back the past. */
function redrive(inProgress: StepInProgress, job: EmbedJob): RedriveOutcome {
  const { state, effects } = inProgress
  const partition = state.partitions.get(job.partition)
  const { acceptance, generation } = state.settings
  if (!partition || job.generation !== generation || job.version.epoch !== acceptance.topicEpoch) return 'foreign'
  const { itemId } = job
  const { offset } = job.version
  const entry = entryOf(inProgress, itemId) ?? emptyEntry
  if (entry.image.version > offset) return 'superseded'
  if (entry.o >= offset) return 'done'
  const pendingSinceMs = entry.image.state === 'pending' ? entry.image.pendingSinceMs : state.nowMs
  const image: ImagePart = { state: 'pending', version: offset, identity: job.imageIdentity, pendingSinceMs }
  effects.table.set(itemId, { ...entry, image })
  const { refresh, traceparent, tracestate } = job
  const trace = { traceparent, ...(tracestate === undefined ? {} : { tracestate }) }
  const wait = { hasJob: true, refresh, ...trace, enqueuedAtMs: 0, refusals: 0 }
  const waiting = { offset, itemId, appendTimeMs: job.acceptedAtMs, bytes: 0, unread: null, image: wait, letter: false }
  issueJob(inProgress, partition, { waiting, image })
  partition.window.redrive(waiting)
  return 'queued'
}

function onLettersWritten({ state, effects }: StepInProgress, letters: readonly LetterAppend[]): void {
  for (const { partition, eventOffset, thenAppend } of letters) {
    if (thenAppend) effects.appends.push({ partition, key: mutationKey(thenAppend), mutation: thenAppend })
    const { window } = state.partitions.get(partition) ?? {}
    const waiting = eventOffset === null ? undefined : window?.get(eventOffset)
    if (window && waiting) window.letterDone(waiting)
  }
}

/** Tails go on so far beyond the bounds: the backlog alone fills them, and is no reason for live events to wait. */
const tailShare = 1.25

/** Pause at a bound, go on when everything is at half, so that reading does not flutter. */
function controlFlow({ state, effects }: StepInProgress): void {
  const { bounds } = state.settings
  const { pace } = state.pacing
  const held = heldOf(state)
  const isHeld = isHeldByPace(state)
  const ofBacklog = { ...bounds, imageRecords: pace.imageRecords ?? bounds.imageRecords }
  if (!state.paused && (isHeld || reaches(held, ofBacklog, 1))) {
    state.paused = true
    effects.flow = 'pause'
  } else if (state.paused && !isHeld && !reaches(held, ofBacklog, 0.5)) {
    state.paused = false
    effects.flow = 'resume'
  }
  if (!state.tailsPaused && (pace.isPaused || reaches(held, bounds, tailShare))) {
    state.tailsPaused = true
    effects.tailFlow = 'pause'
  } else if (state.tailsPaused && !pace.isPaused && !reaches(held, bounds, 1)) {
    state.tailsPaused = false
    effects.tailFlow = 'resume'
  }
}

function heldOf({ partitions }: DispatchState): DispatchBounds {
  const held = { unreadRecords: 0, unreadBytes: 0, imageRecords: 0, imageBytes: 0 }
  for (const { window } of partitions.values()) {
    held.unreadRecords += window.unreadRecords
    held.unreadBytes += window.unreadBytes
    held.imageRecords += window.imageRecords
    held.imageBytes += window.imageBytes
  }
  return held
}

/** One of the bounds, of which a share counts. */
function reaches(held: DispatchBounds, bounds: DispatchBounds, share: number): boolean {
  return (
    held.unreadRecords > bounds.unreadRecords * share ||
    held.unreadBytes > bounds.unreadBytes * share ||
    held.imageRecords > bounds.imageRecords * share ||
    held.imageBytes > bounds.imageBytes * share
  )
}

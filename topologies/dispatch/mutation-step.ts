import { acceptMutation, type Refusal } from '../../schemas/accept-mutation.ts'
import type { EmbedJob } from '../../schemas/embed-job.ts'
import { asOffset, type ItemId } from '../../schemas/ids.ts'
import {
  type ObjectsPut,
  type RegisterMutation,
  registerKey,
  registerOf,
  type WorkFailed,
} from '../../schemas/mutation.ts'
import type { LogRecord } from '../event-log.ts'
import { letterOf } from './catalog-step.ts'
import { entryOf, type MutationRecord, type PartitionState, type StepInProgress } from './dispatch-state.ts'
import { issueJob, jobOf } from './image-job.ts'
import { afterReadBack, beatenKeys, emptyEntry, type ItemEntry } from './item-entry.ts'

/**
 * One record of the mutation log, read back: the only thing that completes an event, moves an item's state or makes
 * garbage of older records. What is refused counts for nothing.
 */
export function onMutationRecord(step: StepInProgress, partition: PartitionState, read: MutationRecord): void {
  const { offset, appendTimeMs } = read.record
  if (offset < partition.mutationPosition) return
  partition.mutationPosition = asOffset(offset + 1)
  onContent(step, partition, read)
  const { mutationPosition: next, highestVersion } = partition
  step.effects.positions.set(partition.partition, { next, appendTimeMs, highestVersion })
}

function onContent(step: StepInProgress, partition: PartitionState, { record, content }: MutationRecord): void {
  switch (content.kind) {
    case 'ignored':
      return
    case 'undecodable':
      refuse(step, { record, refusal: content, attempts: 1, job: null, thenAppend: null })
      return
    case 'mutation': {
      const { mutation } = content
      if (mutation.type === 'Watermark') return
      const refusal = acceptMutation(mutation, step.state.settings.acceptance)
      if (refusal === null) onAccepted(step, partition, record, mutation)
      else onRefused(step, partition, { record, mutation, refusal })
    }
  }
}

function onAccepted(
  step: StepInProgress,
  partition: PartitionState,
  record: LogRecord,
  mutation: RegisterMutation,
): void {
  const { window } = partition
  const { itemId } = mutation
  const { offset } = mutation.version
  // Copies are of events that no dispatcher of this generation may have read.
  const mayBeCopy = mutation.type !== 'AttributesPut' && step.state.settings.copiedFrom !== null
  if (!mayBeCopy && offset > partition.highestVersion) partition.highestVersion = offset
  const before = entryOf(step, itemId) ?? emptyEntry
  const readBack = afterReadBack(before, mutation, step.state.nowMs)
  const keys = beatenKeys(itemId, { before, after: readBack, read: [registerOf(mutation), offset] })
  for (const key of keys) step.effects.appends.push({ partition: record.partition, key, mutation: null })
  const after = collectRefused(step, record, { itemId, entry: readBack })
  if (after !== before) step.effects.table.set(itemId, after)
  switch (mutation.type) {
    case 'AttributesPut':
    case 'ItemRemoved': {
      const waiting = window.get(offset)
      if (waiting?.unread?.mutation.type === mutation.type && waiting.itemId === itemId) window.unreadDone(waiting)
      if (mutation.type === 'ItemRemoved') window.imagesDone(itemId, offset)
      return
    }
    case 'ObjectsPut':
    case 'WorkFailed':
      window.imagesDone(itemId, offset)
  }
}

/** A refused record may only leave the log once beaten: until then a good one may follow under its key. */
function collectRefused(
  { effects }: StepInProgress,
  record: LogRecord,
  { itemId, entry }: { readonly itemId: ItemId; readonly entry: ItemEntry },
): ItemEntry {
  const { refused } = entry
  if (refused < 0 || (entry.o < refused && entry.x < refused)) return entry
  if (entry.o !== refused || entry.x >= refused)
    effects.appends.push({ partition: record.partition, key: registerKey('o', itemId, refused), mutation: null })
  return { ...entry, refused: asOffset(-1) }
}

interface RefusedMutation {
  readonly record: LogRecord
  readonly mutation: RegisterMutation
  readonly refusal: Refusal
}

/**
 * The job runs again a few times, under ids of their own, because its worker may still hold the first. Then the
 * refusal becomes the item's failure.
 */
function onRefused(step: StepInProgress, partition: PartitionState, refused: RefusedMutation): void {
  const { state } = step
  const { mutation, record, refusal } = refused
  state.counts.refused++
  // Offsets of another epoch name other events.
  if (mutation.type !== 'ObjectsPut' || mutation.version.epoch !== state.settings.acceptance.topicEpoch) return
  rememberRefused(step, record, mutation)
  const { itemId, version } = mutation
  const waiting = partition.window.get(version.offset)
  const image = entryOf(step, itemId)?.image
  const wait = waiting?.itemId === itemId && image?.version === version.offset ? waiting.image : null
  if (!waiting || !image || !wait?.hasJob) return
  wait.refusals++
  if (wait.refusals <= state.settings.refusalRetries) {
    issueJob(step, partition, { waiting, image }, `-r${wait.refusals}`)
    return
  }
  // The event keeps its job: should the failure be lost, the job is overdue once more.
  wait.enqueuedAtMs = state.nowMs
  const job = jobOf(step, partition, { waiting, image })
  refuse(step, {
    record,
    refusal,
    attempts: wait.refusals,
    job,
    thenAppend: failureOf(job, { refusal, attempts: wait.refusals }),
  })
}

function rememberRefused(step: StepInProgress, record: LogRecord, mutation: ObjectsPut): void {
  const entry = entryOf(step, mutation.itemId)
  const { offset } = mutation.version
  if (entry === undefined || offset <= entry.refused) return
  const after = collectRefused(step, record, { itemId: mutation.itemId, entry: { ...entry, refused: offset } })
  step.effects.table.set(mutation.itemId, after)
}

function failureOf(
  job: EmbedJob,
  { refusal, attempts }: { readonly refusal: Refusal; readonly attempts: number },
): WorkFailed {
  return {
    type: 'WorkFailed',
    itemId: job.itemId,
    version: job.version,
    imageIdentity: job.imageIdentity,
    stage: 'dispatch',
    code: refusal.code,
    message: refusal.message,
    retryable: false,
    attempts,
  }
}

function refuse(
  step: StepInProgress,
  refused: {
    readonly record: LogRecord
    readonly refusal: Refusal
    readonly attempts: number
    readonly job: EmbedJob | null
    readonly thenAppend: WorkFailed | null
  },
): void {
  const { record, refusal, attempts, job, thenAppend } = refused
  const { generation } = step.state.settings
  const letter = { ...letterOf(step, record, refusal), generation, attempts, job }
  step.state.counts.deadLetters++
  step.effects.letters.push({ partition: record.partition, eventOffset: null, letter, thenAppend })
}

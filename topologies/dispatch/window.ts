import { asOffset, type ItemId, type Offset } from '../../schemas/ids.ts'
import type { AttributesPut, ItemRemoved } from '../../schemas/mutation.ts'

/** A catalog event that is not complete, and what it waits for. Complete when nothing is left. */
export interface Waiting {
  readonly offset: Offset
  readonly itemId: ItemId
  readonly appendTimeMs: number
  /** Size of the record, for the bounds. */
  readonly bytes: number
  /** The attributes or removal that was appended and has not been read back; null when it was. */
  unread: UnreadMutation | null
  /** Image work not yet read back as finished; null when none is awaited. */
  image: ImageWait | null
  /** A dead letter is being written; its durable append completes the event or goes on with `WorkFailed`. */
  letter: boolean
}

export interface UnreadMutation {
  readonly mutation: AttributesPut | ItemRemoved
  appendedAtMs: number
}

/** The job itself is not kept: a backlog of a million would not fit, and the item's entry has the rest of it. */
export interface ImageWait {
  /** False when a newer image or a delete has taken over: its result completes this event too. */
  hasJob: boolean
  readonly refresh: boolean
  readonly traceparent: string
  readonly tracestate?: string
  enqueuedAtMs: number
  /** Results of this job that were refused so far. */
  refusals: number
}

/** What is read of a partition in one piece, in order. */
interface Piece {
  /** Next offset to read. */
  position: Offset
  /** Offsets in reading order; those without a `#waiting` entry are complete. */
  order: Offset[]
  /** For each in `order`, the record read before it. */
  readBefore: Offset[]
}

/** Read beside what lies before it, until that is read as well. */
interface Tail extends Piece {
  readonly from: Offset
  /** So long may `order` get before what is complete is taken out. */
  prunedAt: number
}

/**
 * The events of one catalog partition between the low-water mark and the read position.
 *
 * They are read in order, in one piece, or in two while there is a backlog: live events, which begin at an offset that
 * is given, are a *tail* that is read beside it. Of which piece a record is, its offset says. Once the backlog is read
 * the pieces are joined. Until then all below is of the backlog's piece alone: nothing of the tail is committed, or
 * under the watermark, before everything below it is.
 *
 * Position arithmetic:
 * | quantity  | meaning                                                    | nothing waits  | something waits               |
 * |-----------|------------------------------------------------------------|----------------|-------------------------------|
 * | position  | next offset to read                                        | last read + 1  | last read + 1                 |
 * | watermark | last record read up to which, inclusive, all is complete   | position - 1   | record read before the first waiting |
 * | lowWater  | next offset to read after a restart: what is committed     | watermark + 1  | watermark + 1                 |
 *
 * Offsets have gaps (log compaction): the offset before a waiting one may be that of an event whose newer one waits,
 * so the watermark names records that were read, and no others.
 * Redriven events lie below the low-water mark: they are known here, and hold nothing back.
 */
export class PartitionWindow {
  readonly #main: Piece
  #tail: Tail | null
  readonly #waiting = new Map<Offset, Waiting>()
  /** Of the main piece: what is before it in `order` has been passed. */
  #head = 0
  #cursor = 0
  readonly #redriven = new Set<Offset>()
  /** Events that wait for image work, per item in ascending offsets. */
  readonly #imagesOf = new Map<ItemId, Waiting[]>()
  #unreadRecords = 0
  #unreadBytes = 0
  #imageRecords = 0
  #imageBytes = 0

  /** `tailFrom`: where live events begin, should others lie before them that are not read yet. */
  constructor(position: Offset, tailFrom: Offset | null = null) {
    this.#main = { position, order: [], readBefore: [] }
    const from = tailFrom !== null && tailFrom > position ? tailFrom : null
    this.#tail = from === null ? null : { from, position: from, order: [], readBefore: [], prunedAt: leastPruned }
  }

  get position(): Offset {
    return this.#main.position
  }

  /** Next offset of the tail; null when reading is in one piece. */
  get tailPosition(): Offset | null {
    return this.#tail?.position ?? null
  }

  /** Next offset to read of the piece that this one is of. */
  nextOf(offset: Offset): Offset {
    return this.#pieceOf(offset).position
  }

  /** Where the tail begins, if this offset is of it; null for others. */
  tailOf(offset: Offset): Offset | null {
    return this.#tail !== null && offset >= this.#tail.from ? this.#tail.from : null
  }

  get unreadRecords(): number {
    return this.#unreadRecords
  }

  get unreadBytes(): number {
    return this.#unreadBytes
  }

  get imageRecords(): number {
    return this.#imageRecords
  }

  get imageBytes(): number {
    return this.#imageBytes
  }

  get lowWater(): Offset {
    return asOffset(this.watermark + 1)
  }

  get watermark(): Offset {
    return this.#first() ? this.#main.readBefore[this.#head]! : asOffset(this.#main.position - 1)
  }

  /** Append time of the oldest event that is not complete; null when none waits. */
  get oldestPendingTimeMs(): number | null {
    return this.#first()?.appendTimeMs ?? null
  }

  /** A record was read. Without anything to wait for it is complete. */
  read(offset: Offset, waiting: Waiting | null): void {
    const piece = this.#pieceOf(offset)
    const readBefore = asOffset(piece.position - 1)
    piece.position = asOffset(offset + 1)
    if (waiting !== null && !isComplete(waiting)) {
      piece.order.push(offset)
      piece.readBefore.push(readBefore)
      this.#track(waiting)
    }
    if (this.#tail === null) return
    if (this.#main.position >= this.#tail.from) this.join()
    else if (this.#tail.order.length >= this.#tail.prunedAt) this.#prune(this.#tail)
  }

  /** Another owner has read everything below and completed it. What waits here completes as it is read back. */
  passTo(offset: Offset): void {
    if (this.tailOf(offset) !== null) this.join()
    if (offset > this.#main.position) this.#main.position = offset
  }

  /** Everything before the tail is read. */
  join(): void {
    const tail = this.#tail
    if (tail === null) return
    this.#tail = null
    const main = this.#main
    const lastRead = asOffset(main.position - 1)
    for (const [i, offset] of tail.order.entries()) {
      main.order.push(offset)
      const readBefore = tail.readBefore[i]!
      main.readBefore.push(readBefore < tail.from ? lastRead : readBefore)
    }
    // Where nothing of the tail was read, what lies between may be gone.
    if (tail.position > tail.from) main.position = tail.position
  }

  /** A dead letter of this event is tried again. Ignored when the event still waits. */
  redrive(waiting: Waiting): void {
    if (this.#waiting.has(waiting.offset)) return
    this.#redriven.add(waiting.offset)
    this.#track(waiting)
  }

  get(offset: Offset): Waiting | undefined {
    return this.#waiting.get(offset)
  }

  /** True when a job for the item's image of this version is on its way. */
  knowsJob(offset: Offset): boolean {
    return this.#waiting.get(offset)?.image?.hasJob === true
  }

  /** The jobs of the item's older images are of no more use: a newer image or a delete completes their events. */
  supersede(itemId: ItemId, version: Offset): void {
    const events = this.#imagesOf.get(itemId) ?? []
    for (let i = events.length - 1; i >= 0; i--) {
      const { offset, image } = events[i]!
      if (offset >= version || image === null) continue
      // Only the newest has a job: those before it were superseded when it came.
      if (!image.hasJob) return
      image.hasJob = false
    }
  }

  unreadDone(waiting: Waiting): void {
    if (waiting.unread === null) return
    waiting.unread = null
    this.#unreadRecords--
    this.#unreadBytes -= waiting.bytes
    this.#dropIfComplete(waiting)
  }

  letterDone(waiting: Waiting): void {
    waiting.letter = false
    this.#dropIfComplete(waiting)
  }

  /** Image work of the item is finished for all events up to `version`. */
  imagesDone(itemId: ItemId, version: Offset): void {
    const events = this.#imagesOf.get(itemId)
    if (events === undefined) return
    const left = events.findIndex(waiting => waiting.offset > version)
    const done = left === 0 ? [] : events.splice(0, left < 0 ? events.length : left)
    if (events.length === 0) this.#imagesOf.delete(itemId)
    for (const waiting of done) {
      waiting.image = null
      this.#imageRecords--
      this.#imageBytes -= waiting.bytes
      this.#dropIfComplete(waiting)
    }
  }

  /** Up to `limit` of the events that wait, going round; all redriven ones come with each slice. */
  slice(limit: number): readonly Waiting[] {
    const events: Waiting[] = []
    for (const offset of this.#redriven) events.push(this.#waiting.get(offset)!)
    const { order } = this.#main
    const length = order.length + (this.#tail?.order.length ?? 0)
    if (this.#cursor < this.#head || this.#cursor >= length) this.#cursor = this.#head
    const end = Math.min(this.#cursor + limit, length)
    for (; this.#cursor < end; this.#cursor++) {
      const offset = order[this.#cursor] ?? this.#tail!.order[this.#cursor - order.length]!
      const waiting = this.#waiting.get(offset)
      if (waiting) events.push(waiting)
    }
    return events
  }

  #pieceOf(offset: Offset): Piece {
    return this.#tail !== null && offset >= this.#tail.from ? this.#tail : this.#main
  }

  /** Amortised: as much is taken out, or was put in, as is kept. */
  #prune(tail: Tail): void {
    const kept = [...tail.order.keys()].filter(i => this.#waiting.has(tail.order[i]!))
    tail.readBefore = kept.map(i => tail.readBefore[i]!)
    tail.order = kept.map(i => tail.order[i]!)
    tail.prunedAt = Math.max(leastPruned, 2 * kept.length)
  }

  #track(waiting: Waiting): void {
    this.#waiting.set(waiting.offset, waiting)
    if (waiting.unread) {
      this.#unreadRecords++
      this.#unreadBytes += waiting.bytes
    }
    if (!waiting.image) return
    this.#imageRecords++
    this.#imageBytes += waiting.bytes
    const events = this.#imagesOf.get(waiting.itemId)
    if (events === undefined) this.#imagesOf.set(waiting.itemId, [waiting])
    else if (events.at(-1)!.offset < waiting.offset) events.push(waiting)
    else
      events.splice(
        events.findIndex(event => event.offset > waiting.offset),
        0,
        waiting,
      )
  }

  #dropIfComplete(waiting: Waiting): void {
    if (!isComplete(waiting)) return
    this.#waiting.delete(waiting.offset)
    this.#redriven.delete(waiting.offset)
  }

  #first(): Waiting | undefined {
    const main = this.#main
    while (this.#head < main.order.length) {
      const offset = main.order[this.#head]!
      const waiting = this.#waiting.get(offset)
      if (waiting && !this.#redriven.has(offset)) return waiting
      this.#head++
      if (this.#head >= 1024 && this.#head * 2 >= main.order.length) this.#forgetPassed()
    }
    this.#forgetPassed()
    return undefined
  }

  /** Amortised: what is copied is at most as much as what is forgotten. */
  #forgetPassed(): void {
    this.#main.order = this.#main.order.slice(this.#head)
    this.#main.readBefore = this.#main.readBefore.slice(this.#head)
    this.#cursor = Math.max(0, this.#cursor - this.#head)
    this.#head = 0
  }
}

const leastPruned = 1_024

function isComplete(waiting: Waiting): boolean {
  return waiting.unread === null && waiting.image === null && !waiting.letter
}

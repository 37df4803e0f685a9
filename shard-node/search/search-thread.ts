import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { asFreshetError } from '../../schemas/errors.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { IndexAnswer } from '../vector-index.ts'
import { numbersOf } from './answer-numbers.ts'
import { Bell } from './bell.ts'
import { collectGarbage } from './collect-garbage.ts'
import { ExactRun } from './exact-run.ts'
import { QueryRing } from './query-ring.ts'
import { QueryRun } from './query-run.ts'
import type { SearchReply, SearchRequest, SearchThreadData, Snapshot, WireQuery } from './search-messages.ts'
import { type SearchedSegment, SegmentSearch } from './segment-search.ts'
import { VectorScratch } from './stored-vectors.ts'

/** `inSlot`: it came in a slot of the ring, and if answered at once the answer goes there. */
type Search = Omit<Extract<SearchRequest, { readonly type: 'search' }>, 'type'> & { readonly inSlot: boolean }
type LayoutRequest = Extract<SearchRequest, { readonly type: 'layout' }>

interface LaidSegment {
  readonly view: SegmentView
  readonly segment: SegmentSearch
}

/** An exact search that goes on between requests. */
interface ExactTask {
  /** Of the request it belongs to. */
  readonly id: number
  readonly run: ExactRun
  cpuMs: number
  finish(answer: IndexAnswer): void
}

/** Rows of one slice: 0.6 ms for who waits for the answer, 0.15 ms for an audit, for which nobody waits. */
const rowsPerSlice = { exact: 8_192, audit: 2_048 } as const
/**
 * The owner is told of an answer when nothing else waits here, or this long after it was told of another: being woken
 * costs it as much as several answers do, and where cores are few it takes one away from a search.
 */
const tellEveryMs = 0.5
/**
 * Turns of the event loop that it takes to give back what a segment held: garbage is collected in the first, and what
 * native objects leave behind is released in the second.
 */
const turnsToLetGo = 2
/** Rows in less memory than this may lie about until the garbage collector comes by itself. */
const collectedFromBytes = 16 * 2 ** 20

/**
 * Entry of a search thread: does one request of the ring after the other, with the segments of the layout. Exact
 * searches and audits go on in slices between them, those with somebody waiting first. Without anything to do the
 * thread is blocked: waking it up takes a third of the time of an event.
 */
class SearchThread {
  readonly #port: MessagePort
  readonly #data: SearchThreadData
  readonly #ring: QueryRing
  readonly #bell: Bell
  readonly #run: QueryRun
  #scratch: VectorScratch | null = null
  #layout: readonly LaidSegment[] = []
  /** Segments of the layout, and of those before it that a task still uses. */
  readonly #opened = new Set<SegmentSearch>()
  #exact: ExactTask[] = []
  #audits: ExactTask[] = []
  /** Turns of the event loop before the thread may be blocked. */
  #turnsDue = 0
  #isClosed = false

  constructor(port: MessagePort, data: SearchThreadData) {
    this.#port = port
    this.#data = data
    this.#ring = new QueryRing(data.ring)
    this.#bell = new Bell(data.bell)
    this.#run = new QueryRun(data)
  }

  /** Turn after turn of the event loop, until closed: what waits, then a slice of an exact search. */
  listen(): void {
    if (this.#turnsDue > 0) this.#turnsDue--
    else if (this.#exact.length + this.#audits.length === 0) this.#ring.wait()
    for (let left = this.#ring.waiting; left > 0 && !this.#isClosed; left--) {
      this.#next()
      if (left === 1) this.#bell.ring()
      else this.#bell.ringIfQuietFor(tellEveryMs)
    }
    if (this.#isClosed) return
    this.#goOn()
    setImmediate(() => this.listen())
  }

  #next(): void {
    const query = this.#ring.next()
    if (query === null) this.#handle(receiveMessageOnPort(this.#port)!.message as SearchRequest)
    else this.#orFail(query.id, () => this.#search({ ...query, queries: [query.query], inSlot: true }))
    this.#ring.end()
  }

  #handle(request: SearchRequest): void {
    switch (request.type) {
      case 'layout':
        this.#orFail(request.id, () => this.#layOut(request))
        break
      case 'search':
        this.#orFail(request.id, () => this.#search({ ...request, inSlot: false }))
        break
      case 'close':
        this.#exact = []
        this.#audits = []
        for (const segment of this.#opened) segment.close()
        this.#isClosed = true
        break
    }
  }

  #orFail(id: number, act: () => void): void {
    try {
      act()
    } catch (thrown) {
      this.#fail(id, thrown)
    }
  }

  #fail(id: number, thrown: unknown): void {
    const { code, message } = asFreshetError(thrown)
    this.#reply({ type: 'failed', id, code, message })
  }

  #reply(reply: SearchReply): void {
    this.#port.postMessage(reply)
  }

  #layOut({ id, segments }: LayoutRequest): void {
    const known = new Map(this.#layout.map(laid => [laid.view.id, laid.segment]))
    this.#layout = segments.map(view => {
      const segment = known.get(view.id)
      return { view, segment: segment?.serves(view) ? segment : this.#open(view) }
    })
    this.#letGo()
    this.#reply({ type: 'laidOut', id })
  }

  #open(view: SegmentView): SegmentSearch {
    const segment = new SegmentSearch(view, {
      dims: this.#data.dims,
      thread: this.#data.thread,
      scratch: () => {
        this.#scratch ??= new VectorScratch(this.#data.dims)
        return this.#scratch
      },
    })
    this.#opened.add(segment)
    return segment
  }

  /** Closes segments that neither the layout nor a task uses. */
  #letGo(): void {
    const used = new Set(this.#layout.map(({ segment }) => segment))
    for (const { run } of [...this.#exact, ...this.#audits]) for (const { segment } of run.segments) used.add(segment)
    let isMuch = false
    for (const segment of this.#opened) {
      if (used.has(segment)) continue
      this.#opened.delete(segment)
      segment.close()
      isMuch ||= segment.graph !== null || segment.memoryBytes >= collectedFromBytes
    }
    if (!isMuch) return
    // Later, when the request at hand no longer holds on to anything.
    setImmediate(collectGarbage)
    this.#turnsDue = turnsToLetGo
  }

  #search(request: Search): void {
    const { id, snapshot, queries } = request
    const segments = this.#segmentsAt(snapshot)
    const answers = queries.map(query => (query.exact ? null : this.#run.answer(segments, snapshot.sequence, query)))
    let missing = answers.reduce((sum, answer) => sum + (answer === null ? 1 : 0), 0)
    if (missing === 0) {
      this.#answer(request, segments, answers as IndexAnswer[])
      return
    }
    answers.forEach((answer, i) => {
      if (answer !== null) return
      this.#exact.push({
        id,
        run: this.#exactRun(segments, snapshot, queries[i]!),
        cpuMs: 0,
        finish: exact => {
          answers[i] = exact
          if (--missing === 0) this.#answer({ ...request, inSlot: false }, segments, answers as IndexAnswer[])
        },
      })
    })
  }

  #answer(
    { id, snapshot, queries, inSlot }: Search,
    segments: readonly SearchedSegment[],
    answers: readonly IndexAnswer[],
  ): void {
    const isLeft = inSlot && this.#ring.answer(answers[0]!)
    if (!isLeft) this.#reply({ type: 'answers', id, answers: numbersOf(answers) })
    queries.forEach((query, i) => {
      if (!query.audit) return
      const task: ExactTask = {
        id,
        run: this.#exactRun(segments, snapshot, query),
        cpuMs: 0,
        finish: exact => {
          const recall = recallOf(answers[i]!, exact)
          this.#reply({ type: 'audited', id, recall, effort: query.effort, cpuMs: task.cpuMs })
        },
      }
      this.#audits.push(task)
    })
  }

  #exactRun(segments: readonly SearchedSegment[], { sequence }: Snapshot, query: WireQuery): ExactRun {
    return new ExactRun({ segments, sequence, query, ties: this.#data.ties })
  }

  #segmentsAt({ logRows }: Snapshot): readonly SearchedSegment[] {
    return this.#layout.map(({ segment, view: { order, rows } }, i) => {
      const isBeingWritten = order === 'log' && i === this.#layout.length - 1
      return { segment, rows: isBeingWritten ? Math.min(rows, logRows) : rows }
    })
  }

  #goOn(): void {
    const [exact] = this.#exact
    const [audit] = this.#audits
    if (exact !== undefined) this.#advance(exact, rowsPerSlice.exact)
    else if (audit !== undefined) this.#advance(audit, rowsPerSlice.audit)
  }

  #advance(task: ExactTask, rows: number): void {
    try {
      const startedAt = performance.now()
      const answer = task.run.advance(rows)
      task.cpuMs += performance.now() - startedAt
      if (answer === null) return
      this.#drop(task)
      task.finish(answer)
    } catch (thrown) {
      this.#drop(task)
      // What else its request waits for is refused with it.
      this.#exact = this.#exact.filter(({ id }) => id !== task.id)
      this.#fail(task.id, thrown)
    }
    this.#letGo()
  }

  #drop(task: ExactTask): void {
    this.#exact = this.#exact.filter(other => other !== task)
    this.#audits = this.#audits.filter(other => other !== task)
  }
}

/** Without hits there was nothing to find. */
function recallOf(answer: IndexAnswer, exact: IndexAnswer): number {
  if (exact.hits.length === 0) return 1
  const found = new Set(answer.hits.map(({ item }) => item))
  return exact.hits.filter(({ item }) => found.has(item)).length / exact.hits.length
}

if (parentPort !== null) new SearchThread(parentPort, workerData as SearchThreadData).listen()

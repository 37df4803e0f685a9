import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { asFreshetError } from '../../schemas/errors.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { IndexAnswer } from '../vector-index.ts'
import { numbersOf } from './answer-numbers.ts'
import { collectGarbage } from './collect-garbage.ts'
import { ExactRun } from './exact-run.ts'
import { QueryRun } from './query-run.ts'
import type { SearchReply, SearchRequest, SearchThreadData, Snapshot, WireQuery } from './search-messages.ts'
import { type SearchedSegment, SegmentSearch } from './segment-search.ts'
import { VectorScratch } from './stored-vectors.ts'

type Search = Extract<SearchRequest, { readonly type: 'search' }>
type LayoutRequest = Extract<SearchRequest, { readonly type: 'layout' }>

interface LaidSegment {
  readonly view: SegmentView
  readonly segment: SegmentSearch
}

/** An exact search that goes on between messages. */
interface ExactTask {
  /** Of the message it belongs to. */
  readonly id: number
  readonly run: ExactRun
  cpuMs: number
  finish(answer: IndexAnswer): void
}

/** Rows of one slice: 0.6 ms for who waits for the answer, 0.15 ms for an audit, for which nobody waits. */
const rowsPerSlice = { exact: 8_192, audit: 2_048 } as const
/** Rows in less memory than this may lie about until the garbage collector comes by itself. */
const collectedFromBytes = 16 * 2 ** 20

/**
 * Entry of a search thread: answers one message after the other from the segments of the layout. Exact searches and
 * audits go on in slices between messages, those with somebody waiting first.
 */
class SearchThread {
  readonly #port: MessagePort
  readonly #data: SearchThreadData
  readonly #run: QueryRun
  #scratch: VectorScratch | null = null
  #layout: readonly LaidSegment[] = []
  /** Segments of the layout, and of those before it that a task still uses. */
  readonly #opened = new Set<SegmentSearch>()
  #exact: ExactTask[] = []
  #audits: ExactTask[] = []
  #isGoingOn = false

  constructor(port: MessagePort, data: SearchThreadData) {
    this.#port = port
    this.#data = data
    this.#run = new QueryRun(data)
  }

  listen(): void {
    this.#port.on('message', (request: SearchRequest) => this.#handle(request))
  }

  #handle(request: SearchRequest): void {
    switch (request.type) {
      case 'layout':
        this.#orFail(request.id, () => this.#layOut(request))
        break
      case 'search':
        this.#orFail(request.id, () => this.#search(request))
        break
      case 'close':
        this.#exact = []
        this.#audits = []
        for (const segment of this.#opened) segment.close()
        this.#port.close()
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
    // Later, when the message at hand no longer holds on to anything.
    if (isMuch) setImmediate(collectGarbage)
  }

  #search(request: Search): void {
    const { id, snapshot, queries } = request
    const segments = this.#segmentsAt(snapshot)
    const answers = queries.map(query => (query.exact ? null : this.#run.answer(segments, snapshot.sequence, query)))
    let missing = answers.reduce((sum, answer) => sum + (answer === null ? 1 : 0), 0)
    if (missing === 0) this.#answer(request, segments, answers as IndexAnswer[])
    answers.forEach((answer, i) => {
      if (answer !== null) return
      this.#exact.push({
        id,
        run: this.#exactRun(segments, snapshot, queries[i]!),
        cpuMs: 0,
        finish: exact => {
          answers[i] = exact
          if (--missing === 0) this.#answer(request, segments, answers as IndexAnswer[])
        },
      })
    })
    this.#goOn()
  }

  #answer(
    { id, snapshot, queries }: Search,
    segments: readonly SearchedSegment[],
    answers: readonly IndexAnswer[],
  ): void {
    this.#reply({ type: 'answers', id, answers: numbersOf(answers) })
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

  /** One slice at a time, each after the messages that have come in meanwhile. */
  #goOn(): void {
    if (this.#isGoingOn) return
    this.#isGoingOn = true
    setImmediate(() => {
      this.#isGoingOn = false
      const [exact] = this.#exact
      const [audit] = this.#audits
      if (exact !== undefined) this.#advance(exact, rowsPerSlice.exact)
      else if (audit !== undefined) this.#advance(audit, rowsPerSlice.audit)
      if (this.#exact.length + this.#audits.length > 0) this.#goOn()
    })
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
      // What else its message waits for is refused with it.
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

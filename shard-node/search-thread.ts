import { join } from 'node:path'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { SavedGraph } from './checkpoint-manifest.ts'
import { GraphSegment, type GraphShape, graphLibrary, writeEmptyGraph } from './graph-segment.ts'
import { ItemIndex } from './item-index.ts'
import { type RowsHeader, readRows, rowsHeader, writeRows } from './row-files.ts'
import { sealFile, verifyFile } from './sealed-file.ts'
import type { SearchCalls, SearchReply, SearchRequest, SearchThreadData } from './search-messages.ts'
import { TailedRows } from './tailed-rows.ts'

/** Rows added to the graph between two looks at the message port: about 1 to 2 ms. */
const rowsPerSlice = 8
const connectivity = 16
/** The published graph file is used again until more than this share of the graph is newer than it. */
const graphLagRatio = 0.1

/**
 * Entry of the search thread: holds all vectors of the shard and answers one message after the other. Between
 * messages it moves rows from the flat tail into the graph.
 */
class SearchThread {
  readonly #port: MessagePort
  readonly #data: SearchThreadData
  readonly #shape: GraphShape
  readonly #emptyGraph: string
  #index: ItemIndex
  #advancing = false
  #closed = false

  constructor(port: MessagePort, data: SearchThreadData) {
    this.#port = port
    this.#data = data
    const { dims, expansionAdd, expansionSearch, directory } = data
    this.#shape = { dims, connectivity, expansionAdd, expansionSearch }
    this.#emptyGraph = join(directory, 'graph-empty')
    writeEmptyGraph(this.#emptyGraph, this.#shape)
    this.#index = this.#newIndex()
  }

  listen(): void {
    this.#port.on('message', (message: SearchRequest) => this.#handle(message))
  }

  #handle(message: SearchRequest): void {
    const { id } = message
    try {
      switch (message.name) {
        case 'apply':
          for (const operation of message.request) this.#index.apply(operation)
          this.#advance()
          this.#reply({ id, answer: null })
          break
        case 'search':
          this.#reply({ id, answer: this.#index.search(message.request) })
          break
        case 'vector':
          this.#reply({ id, answer: this.#index.vector(message.request.item, message.request.object) })
          break
        case 'statistics':
          this.#reply({ id, answer: this.#index.statistics() })
          break
        case 'close':
          this.#reply({ id, answer: null })
          this.#port.close()
          this.#closed = true
          break
        case 'checkpoint':
          this.#replyLater(id, this.#checkpoint(message.request))
          break
        case 'restore':
          this.#replyLater(id, this.#restore(message.request))
          break
      }
    } catch (thrown) {
      this.#fail(id, thrown)
    }
  }

  #replyLater(id: number, answer: Promise<SearchCalls['checkpoint' | 'restore']['answer']>): void {
    answer.then(
      value => this.#reply({ id, answer: value }),
      thrown => this.#fail(id, thrown),
    )
  }

  #reply(reply: SearchReply): void {
    this.#port.postMessage(reply)
  }

  #fail(id: number, thrown: unknown): void {
    const { code, message } = asFreshetError(thrown)
    this.#reply({ id, error: { code, message } })
  }

  #advance(): void {
    if (this.#advancing) return
    this.#advancing = true
    const slice = (): void => {
      this.#advancing = !this.#closed && this.#index.advance(rowsPerSlice)
      if (this.#advancing) setImmediate(slice)
    }
    setImmediate(slice)
  }

  /** The picture is taken before this returns to the event loop; writing goes on between messages. */
  async #checkpoint(request: SearchCalls['checkpoint']['request']): Promise<SearchCalls['checkpoint']['answer']> {
    const { rows, searched } = this.#index
    const path = { directory: this.#data.directory, file: `rows-${request.sequence}` }
    const frozen = rows.freeze()
    const header = rowsHeader(frozen, searched)
    const [savedRows, graph] = await Promise.allSettled([
      writeRows(path, rows, frozen, header),
      this.#saveGraph(request),
    ])
    rows.unfreeze()
    if (savedRows.status === 'rejected') throw savedRows.reason
    if (graph.status === 'rejected') throw graph.reason
    return { rows: savedRows.value, graph: graph.value }
  }

  /** The published graph when it is near enough, else a new file, written before the first turn of the event loop. */
  async #saveGraph({ sequence, published }: SearchCalls['checkpoint']['request']): Promise<SavedGraph | null> {
    const { segment, first, segmented } = this.#index.searched
    if (!(segment instanceof GraphSegment) || segment.size === 0) return null
    const { size } = segment
    const isNear = published?.first === first && segmented - published.segmented <= size * graphLagRatio
    if (isNear) return published
    const file = `graph-${sequence}`
    segment.save(join(this.#data.directory, file))
    return { size, first, segmented, library: graphLibrary, ...(await sealFile(this.#data.directory, file)) }
  }

  async #restore(request: SearchCalls['restore']['request']): Promise<SearchCalls['restore']['answer']> {
    const index = this.#newIndex()
    const header = await readRows(this.#data.directory, request.rows, index.rows)
    const slots = slotsByItem(header, request.objectCounts)
    const { searched, graphRefused } = await this.#restoreRows(index, header, request.graph)
    index.adopt(searched)
    for (const [item, itemSlots] of slots)
      index.attach(item, { slots: itemSlots, tie: request.ties[item]!, shown: request.shown[item] === 1 })
    this.#index = index
    this.#advance()
    return { graphRefused }
  }

  async #restoreRows(
    index: ItemIndex,
    header: RowsHeader,
    graph: SavedGraph | null,
  ): Promise<{ readonly searched: TailedRows } & SearchCalls['restore']['answer']> {
    try {
      if (graph !== null) return { searched: await this.#graphedRows(index, header, graph), graphRefused: null }
    } catch (thrown) {
      const { code, message } = asFreshetError(thrown)
      if (code !== 'checkpoint-corrupt' && code !== 'data-format') throw thrown
      return { searched: this.#ungraphedRows(index, header), graphRefused: { code, message } }
    }
    return { searched: this.#ungraphedRows(index, header), graphRefused: null }
  }

  #ungraphedRows(index: ItemIndex, header: RowsHeader): TailedRows {
    const searched = new TailedRows(index.rows, this.#newSegment(), header.next)
    for (let slot = 0; slot < header.items.length; slot++) searched.insert(slot)
    return searched
  }

  /** @throws FreshetError `checkpoint-corrupt` | `data-format` when the graph cannot be used */
  async #graphedRows(index: ItemIndex, header: RowsHeader, graph: SavedGraph): Promise<TailedRows> {
    const { directory } = this.#data
    if (graph.library !== graphLibrary)
      throw new FreshetError('data-format', `the graph was written by ${graph.library}, this is ${graphLibrary}`)
    if (graph.first !== header.first) throw new FreshetError('checkpoint-corrupt', 'the graph belongs to other rows')
    await verifyFile(directory, graph)
    const segment = GraphSegment.load(join(directory, graph.file), graph.size, this.#shape, this.#emptyGraph)
    const searched = new TailedRows(index.rows, segment, header.first)
    header.places.forEach((place, slot) => {
      searched.restore(slot, header.first + place)
    })
    searched.restored(graph.segmented, header.next)
    return searched
  }

  #newIndex(): ItemIndex {
    return new ItemIndex(this.#data.dims, () => this.#newSegment())
  }

  #newSegment(): GraphSegment {
    return new GraphSegment(this.#shape, this.#emptyGraph)
  }
}

/** Row i of the file lies in slot i. @throws FreshetError `checkpoint-corrupt` when rows and items do not fit together */
function slotsByItem(header: RowsHeader, objectCounts: Uint8Array): Map<number, number[]> {
  const slots = new Map<number, number[]>()
  header.items.forEach((item, slot) => {
    const held = slots.get(item) ?? []
    held[header.objects[slot]!] = slot
    slots.set(item, held)
  })
  const expected = objectCounts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0)
  const fits = [...slots].every(
    ([item, held]) => held.length === objectCounts[item] && Object.keys(held).length === held.length,
  )
  if (!fits || slots.size !== expected)
    throw new FreshetError('checkpoint-corrupt', 'the rows do not fit the objects of the items')
  return slots
}

if (parentPort !== null) new SearchThread(parentPort, workerData as SearchThreadData).listen()

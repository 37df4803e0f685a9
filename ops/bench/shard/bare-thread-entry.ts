import { parentPort, workerData } from 'node:worker_threads'
import { type BareThreadData, counts, ended, viewsOf } from './bare-thread.ts'
import { BareUsearch } from './bare-usearch.ts'

const data = workerData as BareThreadData
const bare = new BareUsearch(data, data.expansionSearch)
const { counts: state, query, rows } = viewsOf(data)
parentPort!.postMessage('open')
for (let answered = 0; ; ) {
  Atomics.wait(state, counts.asked, answered)
  const asked = Atomics.load(state, counts.asked)
  if (asked === ended) break
  if (asked === answered) continue
  rows.set(bare.search(query.slice(), data.k))
  answered = asked
  Atomics.store(state, counts.answered, answered)
  Atomics.notify(state, counts.answered)
}

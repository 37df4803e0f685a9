import { expect, test } from 'vitest'
import { asOffset } from '../../schemas/ids.ts'
import { type FetchedMessage, type FetchedPartition, readableRecords } from './fetched-records.ts'

interface BatchOptions {
  readonly first: number
  readonly end: number
  readonly offsets: readonly number[]
  readonly producerId?: string
  readonly isControl?: boolean
  readonly inTransaction?: boolean
}

/** What is left of a batch that held the offsets from `first` to `end`. */
function batch(options: BatchOptions): readonly FetchedMessage[] {
  const { first, end, offsets, producerId = '-1', isControl = false, inTransaction = false } = options
  return offsets.map(offset => ({
    offset: `${offset}`,
    timestamp: '1000',
    key: null,
    value: Buffer.from(`${offset}`),
    isControlRecord: isControl,
    batchContext: { firstOffset: `${first}`, lastOffsetDelta: end - 1 - first, producerId, inTransaction },
  }))
}

function fetched(messages: readonly FetchedMessage[], aborted: FetchedPartition['abortedTransactions'] = null) {
  return { partition: 0, lastStableOffset: '100', abortedTransactions: aborted, messages }
}

const offsetsOf = (partition: FetchedPartition, from: number) => {
  const { records, next } = readableRecords('t', partition, asOffset(from))
  return { offsets: records.map(({ offset }) => offset), next }
}

test('an answer without records leaves the position', () => {
  expect(offsetsOf(fetched([]), 7)).toEqual({ offsets: [], next: 7 })
})

test('the position passes what log compaction took from the end of a batch', () => {
  expect(offsetsOf(fetched(batch({ first: 0, end: 10, offsets: [0, 3] })), 0)).toEqual({ offsets: [0, 3], next: 10 })
})

test('records before the position are left out, even if the whole batch lies before it', () => {
  const left = fetched(batch({ first: 0, end: 10, offsets: [0, 3, 6] }))
  expect(offsetsOf(left, 5)).toEqual({ offsets: [6], next: 10 })
  expect(offsetsOf(left, 8)).toEqual({ offsets: [], next: 10 })
})

test('of several producers only the aborted transactions are left out, each up to its marker', () => {
  const open = { inTransaction: true }
  const messages = [
    ...batch({ ...open, first: 0, end: 2, offsets: [0, 1], producerId: 'a' }),
    ...batch({ ...open, first: 2, end: 4, offsets: [2, 3], producerId: 'b' }),
    ...batch({ first: 4, end: 5, offsets: [4] }),
    ...batch({ ...open, first: 5, end: 6, offsets: [5], producerId: 'a', isControl: true }),
    ...batch({ ...open, first: 6, end: 7, offsets: [6], producerId: 'a' }),
    ...batch({ ...open, first: 7, end: 8, offsets: [7], producerId: 'b', isControl: true }),
  ]
  const aborted = [
    { producerId: 'b', firstOffset: '2' },
    { producerId: 'a', firstOffset: '0' },
  ]
  expect(offsetsOf(fetched(messages, aborted), 0)).toEqual({ offsets: [4, 6], next: 8 })
  expect(offsetsOf(fetched(messages, []), 0)).toEqual({ offsets: [0, 1, 2, 3, 4, 6], next: 8 })
})

test('records of the formats before transactions are read', () => {
  const old = { offset: '4', timestamp: '1000', key: null, value: Buffer.from('old') }
  expect(offsetsOf(fetched([old], [{ producerId: 'a', firstOffset: '0' }]), 4)).toEqual({ offsets: [4], next: 5 })
})

test('of a header given several times the last one counts, and one without a value is empty', () => {
  const [message] = batch({ first: 0, end: 1, offsets: [0] })
  const headers = { once: Buffer.from('é'), twice: [Buffer.from('a'), Buffer.from('b')], none: null }
  const { records } = readableRecords('t', fetched([{ ...message!, headers }]), asOffset(0))
  expect(records[0]!.headers).toEqual({ once: 'é', twice: 'b', none: '' })
})

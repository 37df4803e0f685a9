import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ReplicaId } from './ids.ts'
import { answerFrame, askFrame, cancelFrame, nobodysTag, readAnswerHead, readGatewayFrame } from './shard-frames.ts'
import { noTrace } from './trace-context.ts'

const call = fc.integer({ min: 0, max: 1e14 })
const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const trace = fc.constantFrom(noTrace, { traceparent }, { traceparent, tracestate: 'shop=1, other=a b' })
const text = fc.string({ unit: 'grapheme' })

test('what a gateway writes is what the shard reads', () => {
  const replica = text.filter(name => name !== '' && name.isWellFormed()) as fc.Arbitrary<ReplicaId>
  const timeoutMs = fc.integer({ min: 1, max: 999_999_999 })
  fc.assert(
    fc.property(fc.record({ call, replica, timeoutMs, trace, body: text }), ask => {
      expect(readGatewayFrame(Buffer.from(askFrame(ask)))).toEqual(ask)
    }),
  )
  fc.assert(
    fc.property(call, number => {
      expect(readGatewayFrame(Buffer.from(cancelFrame(number)))).toEqual({ cancelled: number })
    }),
  )
})

test('a trace that is none, or too long, is left out', () => {
  const ask = { call: 1, replica: 'r0' as ReplicaId, timeoutMs: 5, body: '{}' }
  for (const [given, read] of [
    [{ traceparent: 'no\nthing' }, noTrace],
    [{ traceparent, tracestate: `a=${'b'.repeat(600)}` }, { traceparent }],
  ] as const)
    expect(readGatewayFrame(Buffer.from(askFrame({ ...ask, trace: given })))).toEqual({ ...ask, trace: read })
  const invented = readGatewayFrame(Buffer.from('ask 1 r0 5 nothing\n{}'))
  expect(invented).toEqual({ ...ask, trace: noTrace })
})

test('what a shard writes is what the gateway reads', () => {
  const tag = fc.constantFrom('g1/0/r0', 'g1/12/%C3%BC', nobodysTag)
  const status = fc.integer({ min: 200, max: 599 })
  fc.assert(
    fc.property(fc.record({ call, status, tag }), text, (head, body) => {
      const bytes = Buffer.from(answerFrame(head, body))
      const { bodyAt, ...read } = readAnswerHead(bytes)!
      expect(read).toEqual(head)
      expect(bytes.toString('utf8', bodyAt)).toBe(Buffer.from(body).toString())
    }),
  )
})

test.each([
  '',
  '\n',
  'ask',
  'ask 1 r0 5',
  'ask -1 r0 5\n{}',
  'ask 01 r0 5\n{}',
  'ask 1 r0 0\n{}',
  'ask 1 r0 5.5\n{}',
  'ask 1  5\n{}',
  'ask 1 %ff 5\n{}',
  'ASK 1 r0 5\n{}',
  'cancel\n',
  'cancel 1e3\n',
  'cancel 1',
  `cancel ${'1'.repeat(20)}\n`,
  ' 1 200 tag\n',
  '1 200\n',
  '1 100 tag\n',
  '1 200 two words\n',
  '1 200 tag',
])('%j is no frame', wrong => {
  expect(readGatewayFrame(Buffer.from(wrong))).toBeNull()
  expect(readAnswerHead(Buffer.from(wrong))).toBeNull()
})

test('a head that does not end in time is none', () => {
  const name = 'r'.repeat(5_000)
  expect(readGatewayFrame(Buffer.from(`ask 1 ${name} 5\n{}`))).toBeNull()
  expect(readAnswerHead(Buffer.from(`1 200 ${name}\n`))).toBeNull()
})

test('no bytes make a reader fail', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      readGatewayFrame(Buffer.from(bytes))
      readAnswerHead(Buffer.from(bytes))
    }),
  )
})

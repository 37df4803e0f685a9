import { ROOT_CONTEXT, trace } from '@opentelemetry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contextOf, isSampled, noTrace, spanContextOf, traceHeadersOf, traceOf } from './trace-context.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const spanId = 'b7ad6b7169203331'
const traceparent = `00-${traceId}-${spanId}-01`

describe('what headers name', () => {
  test('trace, parent and whether it is sampled', () => {
    expect(spanContextOf({ traceparent })).toEqual({ traceId, spanId, traceFlags: 1, isRemote: true })
    expect(spanContextOf({ traceparent, tracestate: 'a=1,b=2' })?.traceState?.get('b')).toBe('2')
    expect(isSampled({ traceparent })).toBe(true)
    expect(isSampled({ traceparent: `00-${traceId}-${spanId}-00` })).toBe(false)
    expect(isSampled({ traceparent: `00-${traceId}-${spanId}-0b` })).toBe(true)
    expect(isSampled({})).toBe(false)
  })

  test('a later version may say more', () => {
    expect(spanContextOf({ traceparent: `01-${traceId}-${spanId}-01-more` })).toMatchObject({ traceId, spanId })
  })

  test.each([
    undefined,
    '',
    'nonsense',
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `${traceparent}${'x'.repeat(1_000_000)}`,
    ['two', 'headers'],
    7,
  ])('none: %j', given => {
    expect(spanContextOf({ traceparent: given })).toBeNull()
    expect(contextOf({ traceparent: given })).toBe(ROOT_CONTEXT)
  })
})

describe('what is handed on', () => {
  test('is the caller’s own where this process makes no spans', () => {
    const headers = { traceparent, tracestate: 'a=1' }
    const span = trace.getTracer('none').startSpan('a', {}, contextOf(headers))
    expect(span.isRecording()).toBe(false)
    expect(traceHeadersOf(span)).toEqual(headers)
  })

  test('is nothing without a trace', () => {
    expect(traceHeadersOf(undefined)).toBe(noTrace)
    expect(traceHeadersOf(trace.getTracer('none').startSpan('a', {}, ROOT_CONTEXT))).toBe(noTrace)
    expect(traceOf({})).toBe(noTrace)
    expect(traceOf({ traceparent: '' })).toBe(noTrace)
  })

  test('is bounded, whatever a foreign producer wrote', () => {
    expect(traceOf({ traceparent, tracestate: 'a=1' })).toEqual({ traceparent, tracestate: 'a=1' })
    expect(traceOf({ traceparent, tracestate: 'x'.repeat(100_000) })).toEqual({ traceparent })
    expect(traceOf({ traceparent: 'x'.repeat(100_000) })).toBe(noTrace)
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        const { traceparent: handedOn = '', tracestate = '' } = traceOf({ traceparent: a, tracestate: b })
        expect(handedOn.length + tracestate.length).toBeLessThan(1_000)
      }),
    )
  })

  test('arrives as it was', () => {
    const hex = (length: number) =>
      fc
        .array(fc.constantFrom(...'0123456789abcdef'), { minLength: length, maxLength: length })
        .map(all => all.join(''))
    fc.assert(
      fc.property(hex(32), hex(16), fc.constantFrom('00', '01'), (id, parent, flags) => {
        fc.pre(!/^0+$/.test(id) && !/^0+$/.test(parent))
        const sent = { traceparent: `00-${id}-${parent}-${flags}` }
        expect(traceHeadersOf(trace.getSpan(contextOf(sent)))).toEqual(sent)
      }),
    )
  })
})

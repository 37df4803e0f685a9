import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ExtraRequests } from './extra-requests.ts'

const options = { ratio: 0.05, burst: 100, reserve: 50 }
const events = fc.array(fc.constantFrom('request', 'hedge', 'retry'), { maxLength: 5_000 })

test('extra requests are never more than the ratio of the others, and once the burst', () => {
  fc.assert(
    fc.property(events, sequence => {
      const extra = new ExtraRequests(options)
      const sent = { request: 0, hedge: 0, retry: 0 }
      for (const event of sequence) {
        if (event === 'request') extra.earn()
        const isSent = event === 'request' || (event === 'hedge' ? extra.takeForHedge() : extra.takeForRetry())
        if (isSent) sent[event]++
        expect(sent.hedge).toBeLessThanOrEqual(options.ratio * sent.request + 1e-6)
        expect(sent.hedge + sent.retry).toBeLessThanOrEqual(options.reserve + options.ratio * sent.request + 1e-6)
        expect(extra.tokens).toBeGreaterThanOrEqual(0)
        expect(extra.tokens).toBeLessThanOrEqual(options.burst)
      }
    }),
  )
})

test('hedges leave retries their reserve', () => {
  const extra = new ExtraRequests(options)
  for (let i = 0; i < 100_000; i++) extra.earn()
  let hedges = 0
  while (extra.takeForHedge()) hedges++
  let retries = 0
  while (extra.takeForRetry()) retries++
  expect([hedges, retries]).toEqual([50, 50])
})

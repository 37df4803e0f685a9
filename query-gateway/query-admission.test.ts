import { expect, test } from 'vitest'
import { defaultGatewayOptions } from './gateway-options.ts'
import { QueryAdmission } from './query-admission.ts'

test('a query that waited has what is left of its time, and one whose caller left meanwhile never begins', async () => {
  let now = 0
  const admission = new QueryAdmission({ ...defaultGatewayOptions, maxConcurrentQueries: 1 }, () => now)
  const { promise: first, resolve: end } = Promise.withResolvers<void>()
  const running = admission.run(() => first, { deadlineMs: 500 })
  const caller = new AbortController()
  let hasBegun = false
  const gone = admission.run(
    async () => {
      hasBegun = true
    },
    { signal: caller.signal },
  )
  const waiting = admission.run(async ({ leftMs }) => leftMs, { deadlineMs: 500 })
  caller.abort(new Error('left'))
  now = 60
  end()
  await running
  expect(await waiting).toBe(440)
  await expect(gone).rejects.toThrow('left')
  expect(hasBegun).toBe(false)
})

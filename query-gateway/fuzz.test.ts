import fc from 'fast-check'
import type { InjectOptions } from 'fastify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type FuzzRequest, fuzzRequests } from './testing/fuzz/fuzz-requests.ts'
import { type FuzzAnswer, outcomeOf, wrongWith } from './testing/fuzz/fuzz-verdict.ts'
import { fingerprint, type GatewayFixture, openGateway, picture } from './testing/gateway-fixture.ts'

let gateway: GatewayFixture

beforeAll(async () => {
  gateway = await openGateway()
})

afterAll(() => gateway.close())

/** `npm run test:fuzz` does this for longer, against a whole server over real connections. */
test('whatever is asked, the answer is documented, and never the server’s fault', async () => {
  const target = { itemIds: ['a', 'b'], pictures: [picture], fingerprint, dims: 4, generation: 'g1' }
  const outcomes = new Map<string, number>()
  const ask = async (request: FuzzRequest): Promise<void> => {
    const answer = await answered(request)
    const outcome = outcomeOf(request, answer)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    expect(wrongWith(request, answer), `${request.method} ${request.path}: ${outcome}`).toBe(null)
  }
  await fc.assert(fc.asyncProperty(fuzzRequests(target), ask), { numRuns: 1_500, seed: 20_260 })
  // The run is worth something only when it gets past the first check, and fails there too.
  for (const outcome of [
    'search 200',
    'detect 200',
    'form 200',
    'put 202',
    'bulk 200',
    'upload 200',
    'search 400 bad-request',
  ])
    expect([...outcomes.keys()]).toContain(outcome)
})

async function answered({ method, path, headers, body }: FuzzRequest): Promise<FuzzAnswer> {
  const call = { method: method as NonNullable<InjectOptions['method']>, url: path, headers }
  const {
    statusCode,
    headers: answer,
    payload,
  } = await gateway.app.inject({
    ...call,
    ...(body === null ? {} : { payload: Buffer.from(body) }),
  })
  return { status: statusCode, contentType: String(answer['content-type'] ?? ''), text: payload }
}

import { afterEach, expect, test, vi } from 'vitest'
import type { Generation } from '../schemas/ids.ts'
import type { RoutedGeneration } from './ports.ts'
import { allPartitions, type GatewayFixture, generation, hit, openGateway } from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

const next = { ...generation, generation: 'g2' as Generation }
const standby: RoutedGeneration = { ...generation, state: 'standby', share: 0 }

let gateway: GatewayFixture

afterEach(() => gateway.close())

/** g1 as a test has it, and g2 which has all the queries. */
async function open(first: () => RoutedGeneration | null) {
  const replicas = ['g1', 'g2'].map(name => new TableReplica({ generation: name, partitions: allPartitions }))
  for (const [at, replica] of replicas.entries()) replica.hits = [hit(`of-g${at + 1}`, 0.9)]
  const isThere = () => first() !== null
  gateway = await openGateway({
    replicas,
    ports: {
      routing: () => [first(), next].filter(each => each !== null),
      replicas: () => (isThere() ? replicas : replicas.slice(1)),
    },
  })
}

const upload = { base64: Buffer.from('\x89PNG\r\n\x1a\n', 'latin1').toString('base64') }
const search = (payload: object) => gateway.app.inject({ method: 'POST', url: '/v1/search', payload })

test('one on standby answers who names it, and nobody else', async () => {
  await open(() => standby)
  expect((await search({ image: upload, generation: 'g1' })).json()).toMatchObject({
    generation: 'g1',
    results: [{ itemId: 'of-g1' }],
  })
  expect((await search({ image: upload })).json()).toMatchObject({ generation: 'g2', results: [{ itemId: 'of-g2' }] })
})

test('one that was retired is the caller’s mistake, and the answer names those there are', async () => {
  await open(() => null)
  for (const url of ['/v1/items/a?generation=g1', '/v1/items/a/similar?generation=g1'])
    expect((await gateway.app.inject(url)).json().error).toMatchObject({
      code: 'bad-request',
      details: { known: ['g2'] },
    })
  const response = await search({ image: upload, generation: 'g1' })
  expect([response.statusCode, response.json().error]).toMatchObject([
    400,
    { code: 'bad-request', details: { field: 'generation', known: ['g2'] } },
  ])
})

test('one that is retired under a query gives no answer, never one of another generation', async () => {
  let first: RoutedGeneration | null = standby
  await open(() => first)
  const gate = Promise.withResolvers<void>()
  gateway.model.gate = gate.promise
  const answer = search({ image: upload, generation: 'g1' })
  await vi.waitUntil(() => gateway.model.asked.length === 1)
  first = null
  gate.resolve()
  const response = await answer
  expect([response.statusCode, response.json().error]).toMatchObject([503, { code: 'not-ready', retryable: true }])
  // The page and the client try again, without naming it, and are answered by the one there is.
  expect((await search({ image: upload })).json()).toMatchObject({ generation: 'g2' })
})

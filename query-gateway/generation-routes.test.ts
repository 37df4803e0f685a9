import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FreshetClient, type ProofProgress } from '../schemas/client.ts'
import { EvidenceDocument, GenerationDetail, GenerationList, StepAnswer } from '../schemas/http-generations.ts'
import type { OperatorDesk } from '../topologies/generations/desk/operator-desk.ts'
import { DeskFixture, StandingReplica } from '../topologies/generations/desk/testing/desk-fixture.ts'
import { openAccess } from './access/access-options.ts'
import { keyDigest } from './access/api-key.ts'
import { KeyRing } from './access/key-ring.ts'
import { expectShape } from './testing/expect-shape.ts'
import { type GatewayFixture, openGateway } from './testing/gateway-fixture.ts'

const reason = 'v2 is better'

let stored: DeskFixture
let gateway: GatewayFixture
let client: FreshetClient
let desk: OperatorDesk
let g2: StandingReplica

beforeEach(async () => {
  stored = await DeskFixture.open()
  desk = stored.desk()
  gateway = await openGateway({ ports: { generations: desk } })
  client = new FreshetClient({ baseUrl: await gateway.app.listen({ host: '127.0.0.1', port: 0 }), attempts: 1 })
  g2 = new StandingReplica('g2')
  stored.replicas.set('g2', g2)
})

afterEach(async () => {
  await gateway.close()
  await stored.close()
})

async function resultOf(lines: AsyncIterable<ProofProgress>) {
  const all: ProofProgress[] = []
  for await (const line of lines) all.push(line)
  const last = all.at(-1)!
  if (!('result' in last)) throw new Error('no result')
  return { ...last.result, progress: all.length - 1 }
}

test('a generation is built, proven, tried, given queries, undone and retired over HTTP', async () => {
  const dry = await client.buildGeneration({ model: 'v2', reason, dryRun: true })
  expect(dry).toMatchObject({ id: 'g2', generation: null, estimate: { items: 100 } })
  expect((await client.registerModel({ model: 'v2', reason })).isNew).toBe(true)
  const { generation } = await client.buildGeneration({ model: 'v2', reason, by: 'operator-1' })
  expect(generation).toMatchObject({ id: 'g2', startedBy: 'operator-1', state: 'building' })
  await client.pauseGeneration('g2', { reason })
  await client.resumeGeneration('g2', { reason, imagesPerSecond: 3 })
  const proof = await resultOf(client.verifyGeneration('g2', { reason }))
  expect(proof).toMatchObject({ passed: true, against: 'g1' })
  expect(proof.progress).toBeGreaterThan(0)
  const text = await client.evidence('g2', proof.digest)
  expect(createHash('sha256').update(text).digest('hex')).toBe(proof.digest)
  expectShape(EvidenceDocument, JSON.parse(text))
  expect((await resultOf(client.canaryGeneration('g2', { reason }))).measures).toHaveLength(1)
  const routed = await client.routeGeneration('g2', { reason, share: 1 })
  expectShape(StepAnswer, routed)
  expect(routed.shares).toEqual({ g2: 1 })
  expect((await client.rollbackGeneration('g2', { reason })).shares).toEqual({ g1: 1 })
  expect((await client.retireGeneration('g2', { reason, force: true })).generation.state).toBe('retired')
  expectShape(GenerationList, await client.generations())
  const shown = await client.generation('g2')
  expectShape(GenerationDetail, shown)
  expect(shown.history).toHaveLength(9)
  expect((await client.models()).models.map(({ model, generations }) => [model, generations])).toEqual([
    ['v1', ['g1']],
    ['v2', []],
  ])
})

describe('refused', () => {
  test('before it began, a proof fails as everything does', async () => {
    await client.buildGeneration({ model: 'v2', reason })
    g2.watermark = 1
    const response = await gateway.app.inject({
      method: 'POST',
      url: '/v1/admin/generations/g2/verify',
      payload: { reason },
    })
    expect([response.statusCode, response.json().error.code]).toEqual([409, 'step-refused'])
    await expect(resultOf(client.verifyGeneration('g2', { reason }))).rejects.toMatchObject({ code: 'step-refused' })
    await expect(client.evidence('g2', 'a'.repeat(64))).rejects.toMatchObject({ code: 'not-found' })
  })

  test.each([
    ['without a reason', {}, 'reason'],
    ['with an empty one', { reason: '' }, 'reason'],
    ['with a share above 1', { reason, share: 1.5 }, 'share'],
    ['with an unknown field', { reason, shre: 1 }, 'shre'],
  ])('%s', async (_what, payload, field) => {
    const response = await gateway.app.inject({ method: 'POST', url: '/v1/admin/generations/g1/route', payload })
    expect([response.statusCode, response.json().error.code]).toEqual([400, 'bad-request'])
    expect(response.json().error.message).toContain(field)
  })

  test('with what is missing', async () => {
    await client.buildGeneration({ model: 'v2', reason })
    await expect(client.routeGeneration('g2', { reason, share: 0.5 })).rejects.toMatchObject({
      code: 'step-refused',
      details: { missing: ['a certificate', 'a passed canary'] },
    })
    await expect(client.generation('g9')).rejects.toMatchObject({ code: 'not-found' })
  })
})

test('a caller who goes away ends the run, and nothing is recorded', async () => {
  await client.buildGeneration({ model: 'v2', reason })
  const [cut, left] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  g2.onCut = () => cut.promise
  const verify = desk.verify.bind(desk)
  desk.verify = (generation, request, watch) => {
    watch.signal.addEventListener('abort', () => left.resolve(), { once: true })
    return verify(generation, request, watch)
  }
  const giveUp = new AbortController()
  const lines = client.verifyGeneration('g2', { reason }, giveUp.signal)
  expect(await lines.next()).toMatchObject({ value: { progress: { done: 0, total: 2 } } })
  giveUp.abort()
  await expect(lines.next()).rejects.toMatchObject({ code: 'timeout' })
  await left.promise
  cut.resolve()
  // The run that was given up has ended once another one may begin.
  g2.onCut = async () => {}
  const again = () => resultOf(client.verifyGeneration('g2', { reason })).catch(() => null)
  let result = await again()
  while (result === null) result = await again()
  expect(result.passed).toBe(true)
  const { history } = await client.generation('g2')
  expect(history.filter(({ type }) => type === 'CutoverCertified')).toHaveLength(1)
})

test('who decided is the key that was shown, and who that says it is', async () => {
  const key = 'freshet_sk_of-operations-and-long-enough'
  const keys = new KeyRing([{ name: 'ops', role: 'admin', digest: keyDigest(key), requestsPerMinute: null }])
  const guarded = await openGateway({
    ports: { generations: stored.desk() },
    options: { access: { ...openAccess, keys } },
  })
  const headers = { authorization: `Bearer ${key}` }
  const build = (payload: object) =>
    guarded.app.inject({ method: 'POST', url: '/v1/admin/generations', headers, payload })
  expect((await build({ model: 'v2', reason })).json().generation.startedBy).toBe('ops')
  expect((await build({ model: 'v2', reason, by: 'operator-1' })).json().generation.startedBy).toBe(
    'operator-1 (key ops)',
  )
  await guarded.close()
})

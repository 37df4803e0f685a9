import type { Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openAccess } from '../query-gateway/access/access-options.ts'
import { keyDigest, keyFrom } from '../query-gateway/access/api-key.ts'
import { KeyRing } from '../query-gateway/access/key-ring.ts'
import type { RoutedGeneration } from '../query-gateway/ports.ts'
import {
  allPartitions,
  type FixtureOptions,
  type GatewayFixture,
  generation,
  hit,
  openGateway,
  unitVector,
} from '../query-gateway/testing/gateway-fixture.ts'
import { TableReplica } from '../query-gateway/testing/table-replica.ts'
import type { Generation } from '../schemas/ids.ts'
import { DeskFixture, StandingReplica } from '../topologies/generations/desk/testing/desk-fixture.ts'
import { namelessParts } from './testing/page-legibility.ts'
import { desktop, laundry, openPhoto, PageVisits, phone, tabTo, titles } from './testing/page-visits.ts'

/** Generations on the page. The gateway, the desk and its control log are real; shards stand in. */

const routed: readonly RoutedGeneration[] = [
  { ...generation, state: 'serving', share: 0.5 },
  { ...generation, generation: 'g2' as Generation, state: 'serving', share: 0.5 },
]

let visits: PageVisits
let desks: DeskFixture
let gateway: GatewayFixture
let url: string
let shards: readonly TableReplica[]

beforeAll(async () => {
  visits = await PageVisits.open()
})

afterAll(() => visits?.close())

beforeEach(async () => {
  desks = await DeskFixture.open()
})

afterEach(async () => {
  // no demo, no samples
  visits.forgive('/samples/index.json')
  await visits.end()
  await gateway.close()
  await desks.close()
})

async function serve(options: FixtureOptions['options'] = {}, more: FixtureOptions['ports'] = {}): Promise<void> {
  shards = routed.map(({ generation: name }) => new TableReplica({ generation: name, partitions: allPartitions }))
  const ports = { routing: () => routed, generations: desks.desk(), ...more }
  gateway = await openGateway({ replicas: shards, ports, options })
  url = await gateway.app.listen({ host: '127.0.0.1', port: 0 })
}

const cardOf = (page: Page, id: string): Locator => page.getByRole('article', { name: `Generation ${id}` })
const stateOf = (card: Locator): Promise<string> => card.locator('[aria-current="step"]').innerText()

/** Presses the button and gives the reason it is asked for. */
async function take(
  page: Page,
  card: Locator,
  { button, confirm }: { readonly button: string; readonly confirm: string },
) {
  await card.getByRole('button', { name: button, exact: true }).click()
  const dialog = page.locator('#step-dialog')
  await dialog.getByLabel('Why').fill(`because of ${button}`)
  await dialog.getByRole('button', { name: confirm, exact: true }).click()
}

test('a model is built, proven, switched to, undone and retired, each step with its reason', async () => {
  await serve()
  const page = await visits.visit(url, { context: desktop })
  await page.getByRole('button', { name: /s old$/ }).click()
  await page.getByRole('link', { name: 'Look after generations' }).click()
  await page.getByRole('heading', { name: 'Generations', level: 1 }).waitFor()
  expect(await stateOf(cardOf(page, 'g1'))).toBe('active')

  await page.getByRole('button', { name: 'Build a generation' }).click()
  const dialog = page.locator('#build-dialog')
  await dialog.locator('#build-model').selectOption('v1')
  await dialog.getByRole('button', { name: 'What would it cost?' }).click()
  await dialog.getByText(/^g2: 100 items, /).waitFor()
  await visits.keep(page, 'generation-estimate')
  const replica = new StandingReplica('g2')
  replica.watermark = 2
  desks.replicas.set('g2', replica)
  await dialog.getByLabel('Why').fill('the same once more')
  await dialog.getByRole('button', { name: 'Build', exact: true }).click()

  const card = cardOf(page, 'g2')
  await card.getByText('6 of 10 catalogue offsets').waitFor()
  expect(await stateOf(card)).toBe('building')
  expect(await card.getByRole('button', { name: 'Verify', exact: true }).isDisabled()).toBe(true)
  await card.getByText(/^Verify lacks /).waitFor()
  await card.getByText('Queries lacks a certificate; a passed canary').waitFor()
  await visits.keep(page, 'generation-building')
  await take(page, card, { button: 'Pause', confirm: 'Pause' })
  await take(page, card, { button: 'Resume', confirm: 'Resume' })

  replica.watermark = 4
  await take(page, card, { button: 'Verify', confirm: 'Verify' })
  await card.getByText(/^Passed: /).waitFor()
  await take(page, card, { button: 'Run the canary', confirm: 'Run it' })
  await card.getByText('items.recall@10').waitFor()
  expect(await stateOf(card)).toBe('canary')
  await visits.keep(page, 'generation-canary')
  await card.getByRole('button', { name: /^Certificate: evidence [0-9a-f]{8}$/ }).click()
  await page.locator('#evidence-body').getByText('"reference": "g1"').waitFor()
  await visits.keep(page, 'generation-evidence')
  await page.locator('#evidence-close').click()

  await take(page, card, { button: '5 %', confirm: 'Give 5 %' })
  await card.locator('[aria-current="step"]').getByText('serving').waitFor()
  expect(await cardOf(page, 'g1').locator('.figures').getByText('95 %').count()).toBe(1)
  await take(page, card, { button: '100 %', confirm: 'Give 100 %' })
  await card.locator('[aria-current="step"]').getByText('active').waitFor()
  await take(page, card, { button: 'Undo', confirm: 'Undo' })
  await card.locator('[aria-current="step"]').getByText('standby').waitFor()
  expect(await card.getByText(/^Retire lacks /).count()).toBe(1)
  desks.nowMs += 1_000
  await card.getByText(/^Retire lacks /).waitFor({ state: 'detached' })
  await take(page, card, { button: 'Retire', confirm: 'Retire' })
  await page.getByText('Retired', { exact: true }).click()
  await page.locator('#retired').getByText('g2 · Model v1').waitFor()
  expect(await page.getByRole('article').count()).toBe(1)
  const { history } = await gateway.ports.generations.show('g2' as Generation)
  expect(history.map(({ reason }) => reason)).toEqual([
    'because of Retire',
    'because of Undo',
    'because of 100 %',
    'because of 5 %',
    'because of Run the canary',
    'because of Verify',
    expect.any(String),
    'because of Resume',
    'because of Pause',
    'the same once more',
  ])
})

test('what a proof finds wrong is said, and what another operator did meanwhile is not run over', async () => {
  await serve()
  const { generations } = gateway.ports
  const replica = new StandingReplica('g2')
  replica.failed = ['torn']
  desks.replicas.set('g2', replica)
  await generations.build({ model: 'v1', by: 'operator-1', reason: 'once more' })
  const page = await visits.visit(`${url}/?generations`, { context: { ...desktop, colorScheme: 'dark' } })
  const card = cardOf(page, 'g2')
  await take(page, card, { button: 'Verify', confirm: 'Verify' })
  await card.getByText('Not passed').waitFor()
  expect(await card.locator('.reasons li').count()).toBeGreaterThan(0)
  expect(await stateOf(card)).toBe('verifying')
  await visits.keep(page, 'generation-not-proven')

  await card.getByText('History', { exact: true }).click()
  await card
    .locator('.history')
    .getByText(/operator-1: once more$/)
    .first()
    .waitFor()
  await card.getByRole('button', { name: 'Verify', exact: true }).click()
  await generations.retire('g2' as Generation, { by: 'operator-2', reason: 'enough', force: true })
  await page.locator('#step-reason').fill('once more')
  await page.locator('#step-confirm').click()
  await page.getByRole('alert').getByText('What it lacks has to be there first.').waitFor()
  visits.forgive('409')
  await card.waitFor({ state: 'detached' })
})

test('what a step lacks is gone without where the person says so, and gives a reason; never by one press', async () => {
  await serve()
  const { generations } = gateway.ports
  desks.replicas.set('g2', new StandingReplica('g2'))
  await generations.build({ model: 'v1', by: 'operator-1', reason: 'once more' })
  const page = await visits.visit(`${url}/?generations`, { context: desktop })
  const card = cardOf(page, 'g2')
  const dialog = page.locator('#step-dialog')
  const recorded = async () => (await generations.show('g2' as Generation)).history[0]!
  await card.getByText('Queries lacks a certificate; a passed canary').waitFor()

  // The canary needs a certificate, whatever anybody says.
  expect(await card.getByRole('button', { name: 'Run the canary' }).isDisabled()).toBe(true)
  const before = await recorded()
  await take(page, card, { button: '5 %', confirm: 'Give 5 %' })
  expect(await dialog.locator('#step-lacking li').allInnerTexts()).toEqual(['a certificate', 'a passed canary'])
  expect([await dialog.isVisible(), await recorded()]).toEqual([true, before])
  await visits.keep(page, 'generation-forced')
  await dialog.getByLabel('Do it all the same').check()
  await dialog.getByLabel('Why').fill('')
  await dialog.getByRole('button', { name: 'Give 5 %' }).click()
  expect([await dialog.isVisible(), await recorded()]).toEqual([true, before])
  await dialog.getByLabel('Why').fill('the old one is on fire')
  await dialog.getByRole('button', { name: 'Give 5 %' }).click()
  await card.locator('[aria-current="step"]').getByText('serving').waitFor()
  const summary = 'queries to g1 95%, g2 5% (the old one is on fire)'
  expect(await recorded()).toMatchObject({ summary, reason: 'the old one is on fire' })

  // Given once, for one step: the next one asks again.
  desks.replicas.get('g1')!.indexAgeMs = 60_000
  await card.getByText(/^Undo lacks an index of g1 that is at most/).waitFor()
  await card.getByRole('button', { name: 'Undo', exact: true }).click()
  expect(await dialog.getByLabel('Do it all the same').isChecked()).toBe(false)
  await dialog.getByLabel('Do it all the same').check()
  await dialog.getByLabel('Why').fill('worse than stale')
  await dialog.getByRole('button', { name: 'Undo', exact: true }).click()
  await card.locator('[aria-current="step"]').getByText('standby').waitFor()
  expect((await recorded()).summary).toMatch(/^queries to g1 100% \(forced without an index of g1 that is at most/)
  expect(await namelessParts(page)).toEqual([])
})

test('a proof is stopped, and nothing is recorded', async () => {
  await serve()
  const { generations } = gateway.ports
  const replica = new StandingReplica('g2')
  const gate = Promise.withResolvers<void>()
  desks.replicas.set('g2', replica)
  await generations.build({ model: 'v1', by: 'operator-1', reason: 'once more' })
  replica.onCut = () => gate.promise
  const page = await visits.visit(`${url}/?generations`)
  const card = cardOf(page, 'g2')
  await take(page, card, { button: 'Verify', confirm: 'Verify' })
  await card.getByText(/^Verifying/).waitFor()
  await card.getByRole('button', { name: 'Stop' }).click()
  await card.getByText(/^Verifying/).waitFor({ state: 'detached' })
  gate.resolve()
  expect(await page.getByRole('alert').count()).toBe(0)
  expect((await generations.show('g2' as Generation)).certificate).toBeNull()
})

test('the searches of both are held side by side, on a phone too', async () => {
  await serve()
  const { generations } = gateway.ports
  desks.replicas.set('g2', new StandingReplica('g2'))
  await generations.build({ model: 'v1', by: 'operator-1', reason: 'once more' })
  shards[0]!.hits = [hit('lamp', 0.7)]
  for (const [name, similarities] of [
    ['g1', [0.7, 0.6]],
    ['g2', [0.9, null, 0.8]],
  ] as const)
    for (const similarity of similarities) {
      shards[name === 'g1' ? 0 : 1]!.hits = similarity === null ? [] : [hit('lamp', similarity)]
      const payload = { vector: [...unitVector], fingerprint: generation.fingerprint, generation: name }
      expect((await gateway.app.inject({ method: 'POST', url: '/v1/search', payload })).statusCode).toBe(200)
    }
  const page = await visits.visit(`${url}/?generations`, { context: { ...phone, colorScheme: 'dark' } })
  await page.getByText('g1: 2 searches').waitFor()
  await page.getByText('g2: 3 searches').waitFor()
  await page.getByRole('img', { name: 'Similarity of the best result: g1 0.65, g2 0.85' }).waitFor()
  await page.getByRole('img', { name: 'Without results: g1 0 %, g2 33 %' }).waitFor()
  expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBe(390)
  expect(await namelessParts(page)).toEqual([])
  await visits.keep(page, 'phone-generations')
  await tabTo(page, '.generation summary')
  await page.keyboard.press('Enter')
  await page.locator('.history li').first().waitFor()
})

test('a photo whose generation is retired is looked at by the next one, and searched on', async () => {
  let routing = routed.map((each, at) => ({ ...each, share: at === 0 ? 1 : 0 }))
  await serve({}, { routing: () => routing })
  for (const [at, replica] of shards.entries()) replica.hits = [hit(`of-g${at + 1}`, 0.9)]
  const page = await visits.visit(url)
  await openPhoto(page, laundry)
  expect(await titles(page)).toEqual(['Title of of-g1'])
  routing = routed.slice(1).map(each => ({ ...each, share: 1 }))
  await page.getByRole('button', { name: /^lamp/ }).click()
  await page.locator('.card-title').getByText('Title of of-g2').waitFor()
  expect(await page.getByRole('alert').count()).toBe(0)
  expect(shards[1]!.searches.at(-1)).toMatchObject({ generation: 'g2', filter: { category: ['lamp'] } })
  visits.forgive('400', '/v1/search')
  // pictures that these products do not have
  visits.forgive('404', '/image')
})

test('without a key that may, the page says so', async () => {
  const key = keyFrom(new Uint8Array(32).fill(1))
  const entry = { name: 'reader', role: 'read', digest: keyDigest(key), requestsPerMinute: null } as const
  await serve({ access: { ...openAccess, keys: new KeyRing([entry]) } })
  const page = await visits.visit(`${url}/?generations`, { isWell: false })
  await page.getByLabel('Key', { exact: true }).fill(key)
  await page.getByRole('button', { name: 'Use this key' }).click()
  await page.getByRole('alert').getByRole('button', { name: 'Use another key' }).waitFor()
  visits.forgive('401')
  visits.forgive('403')
})

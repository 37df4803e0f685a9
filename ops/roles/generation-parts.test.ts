import { expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Fingerprint, type Generation } from '../../schemas/ids.ts'
import {
  type ControlState,
  type GenerationStatus,
  initialControlState,
  newGeneration,
} from '../../topologies/control/control-state.ts'
import { GenerationParts } from './generation-parts.ts'

function stateOf(...generations: readonly (readonly [string, GenerationStatus['state']])[]): ControlState {
  const entries = generations.map(([name, state]): [Generation, GenerationStatus] => {
    const started = {
      type: 'GenerationStarted',
      generation: name as Generation,
      model: 'v1',
      fingerprint: 'f' as Fingerprint,
      dims: 4,
      shards: 1,
      backfillUntil: [],
      topicEpoch: null,
      from: null,
      weights: '',
      index: '',
      imagesPerSecond: 0,
      decidedAfter: asOffset(-1),
      by: 'test',
      atMs: 0,
      reason: '',
    } as const
    const share = state === 'active' || state === 'serving' ? 0.5 : 0
    return [name as Generation, { ...newGeneration(started), state, share }]
  })
  return { ...initialControlState, generations: new Map(entries) }
}

/** Parts are named after their generation; `failing` says with which code those of a generation fail to open. */
function partsWith({ failing = new Map<string, FreshetError['code']>(), removeAfterMs = 0 } = {}) {
  const closed: string[] = []
  const removed: string[] = []
  const told: string[] = []
  const fail = new Map<string, (error: FreshetError) => void>()
  const now = { ms: 0 }
  const parts = new GenerationParts<string>({
    open: async ({ started: { generation } }, onFailure) => {
      fail.set(generation, onFailure)
      const code = failing.get(generation)
      if (code !== undefined) throw new FreshetError(code, `${generation} does not open`)
      return generation === 'not-ours' ? null : generation
    },
    close: async part => void closed.push(part),
    remove: async ({ started: { generation } }) => {
      const code = failing.get(generation)
      if (code !== undefined) throw new FreshetError(code, `${generation} is not removed`)
      removed.push(generation)
    },
    removeAfterMs,
    onFailure: (_, { message }) => told.push(message),
    clock: () => now.ms,
  })
  return { parts, closed, removed, told, fail, now, failing }
}

test('each generation that is not retired has its part, once', async () => {
  const { parts, closed } = partsWith()
  await parts.adopt(initialControlState)
  expect(parts.all()).toEqual([])
  await parts.adopt(stateOf(['g1', 'active'], ['not-ours', 'building'], ['g0', 'retired']))
  await parts.adopt(stateOf(['g1', 'active'], ['not-ours', 'building'], ['g2', 'building']))
  expect(parts.all()).toEqual(['g1', 'g2'])
  expect([...parts.entries().keys()]).toEqual(['g1', 'g2'])
  await parts.adopt(stateOf(['g1', 'retired'], ['g2', 'active']))
  await parts.adopt(stateOf(['g1', 'retired'], ['g2', 'active']))
  expect([parts.all(), closed]).toEqual([['g2'], ['g1']])
  await parts.close()
  expect(closed).toEqual(['g1', 'g2'])
})

test('what may pass is tried again with the next look, and keeps nobody else waiting', async () => {
  const { parts, told, failing } = partsWith({ failing: new Map([['g1', 'log-unavailable']]) })
  const state = stateOf(['g1', 'active'], ['g2', 'building'])
  await expect(parts.adopt(state)).rejects.toMatchObject({ code: 'log-unavailable' })
  expect([parts.all(), parts.isWhole]).toEqual([['g2'], false])
  failing.delete('g1')
  await parts.adopt(state)
  expect([parts.all(), told, parts.failure, parts.isWhole]).toEqual([['g1', 'g2'], [], null, true])
})

test('the failure of a generation that answers queries is that of the process, and is left alone', async () => {
  const { parts, told, fail, now, failing } = partsWith({ failing: new Map([['g1', 'fingerprint-mismatch']]) })
  const state = stateOf(['g1', 'active'], ['g2', 'serving'])
  await parts.adopt(state)
  expect(parts.failure).toMatchObject({ message: 'g1 does not open' })
  failing.delete('g1')
  now.ms = 60_000
  await parts.adopt(state)
  expect([parts.all(), told]).toEqual([['g2'], ['g1 does not open']])
  fail.get('g2')!(new FreshetError('topic-epoch', 'g2 stops'))
  fail.get('g2')!(new FreshetError('internal', 'and this follows'))
  expect([told, parts.isWhole]).toEqual([['g1 does not open', 'g2 stops'], false])
})

test('one without queries that fails is no failure of the process, and is opened again a while later', async () => {
  const { parts, closed, told, fail, now } = partsWith()
  const state = stateOf(['g1', 'active'], ['g2', 'building'])
  await parts.adopt(state)
  fail.get('g2')!(new FreshetError('topic-missing', 'g2 has no topic'))
  await parts.adopt(state)
  expect([parts.failure, parts.isWhole, told, closed]).toEqual([null, false, ['g2 has no topic'], []])
  now.ms = 5_000
  await parts.adopt(state)
  expect([parts.all(), parts.isWhole, closed]).toEqual([['g1', 'g2'], true, ['g2']])
  fail.get('g2')!(new FreshetError('topic-missing', 'g2 has no topic again'))
  await parts.adopt(stateOf(['g1', 'standby'], ['g2', 'active']))
  expect(parts.failure).toMatchObject({ message: 'g2 has no topic again' })
})

test('what a retired generation left is removed once, after a while; cut short, again', async () => {
  const { parts, closed, removed, now, failing } = partsWith({ removeAfterMs: 1_000 })
  await parts.adopt(stateOf(['g0', 'retired'], ['g1', 'standby'], ['g2', 'active']))
  expect(removed).toEqual([])
  const state = stateOf(['g0', 'retired'], ['g1', 'retired'], ['g2', 'active'])
  now.ms = 1_000
  failing.set('g0', 'storage-full')
  await expect(parts.adopt(state)).rejects.toMatchObject({ code: 'storage-full' })
  expect([closed, removed, parts.all()]).toEqual([['g1'], [], ['g2']])
  failing.delete('g0')
  now.ms = 2_000
  await parts.adopt(state)
  await parts.adopt(state)
  expect(removed).toEqual(['g0', 'g1'])
})

test('a part that is opened while the process drains is closed', async () => {
  const opened = Promise.withResolvers<string>()
  const closed: string[] = []
  const parts = new GenerationParts<string>({
    open: () => opened.promise,
    close: async part => void closed.push(part),
    onFailure: () => {},
    clock: () => 0,
  })
  const adopted = parts.adopt(stateOf(['g1', 'active']))
  await parts.close()
  opened.resolve('g1')
  await adopted
  expect([closed, parts.all()]).toEqual([['g1'], []])
})

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
      decidedAfter: asOffset(-1),
      by: 'test',
      atMs: 0,
      reason: '',
    } as const
    return [name as Generation, { ...newGeneration(started), state }]
  })
  return { ...initialControlState, generations: new Map(entries) }
}

/** Parts are named after their generation; `failing` says with which code those of a generation fail to open. */
function partsWith(failing: Map<string, FreshetError['code']> = new Map()) {
  const closed: string[] = []
  const failures: string[] = []
  const parts = new GenerationParts<string>({
    open: async ({ started: { generation } }) => {
      const code = failing.get(generation)
      if (code !== undefined) throw new FreshetError(code, `${generation} does not open`)
      return generation === 'not-ours' ? null : generation
    },
    close: async part => void closed.push(part),
    onFailure: ({ message }) => failures.push(message),
  })
  return { parts, closed, failures }
}

test('each generation that is not retired has its part, once', async () => {
  const { parts, closed } = partsWith()
  await parts.adopt(initialControlState)
  expect(parts.all()).toEqual([])
  await parts.adopt(stateOf(['g1', 'active'], ['not-ours', 'building'], ['g0', 'retired']))
  await parts.adopt(stateOf(['g1', 'active'], ['not-ours', 'building'], ['g2', 'building']))
  expect(parts.all()).toEqual(['g1', 'g2'])
  await parts.adopt(stateOf(['g1', 'retired'], ['g2', 'active']))
  await parts.adopt(stateOf(['g1', 'retired'], ['g2', 'active']))
  expect([parts.all(), closed]).toEqual([['g2'], ['g1']])
  await parts.close()
  expect(closed).toEqual(['g1', 'g2'])
})

test('what may pass is tried again with the next look, what will not is told and left alone', async () => {
  const failing = new Map<string, FreshetError['code']>([
    ['g1', 'log-unavailable'],
    ['g2', 'fingerprint-mismatch'],
  ])
  const { parts, failures } = partsWith(failing)
  const state = stateOf(['g1', 'active'], ['g2', 'building'])
  await expect(parts.adopt(state)).rejects.toMatchObject({ code: 'log-unavailable' })
  failing.delete('g1')
  await parts.adopt(state)
  expect([parts.all(), failures]).toEqual([['g1'], ['g2 does not open']])
  failing.delete('g2')
  await parts.adopt(state)
  expect([parts.all(), failures]).toEqual([['g1'], ['g2 does not open']])
})

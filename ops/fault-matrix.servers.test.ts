import { beforeAll, expect, test } from 'vitest'
import { asOffset } from '../schemas/ids.ts'
import { mutationKey } from '../schemas/mutation.ts'
import { mutationTopic } from '../schemas/topics.ts'
import { scenariosNamed } from './testing/faults/all-scenarios.ts'
import { generation } from './testing/faults/fault-installation.ts'
import { type FaultResult, runFaultMatrix } from './testing/faults/fault-matrix.ts'
import { standard } from './testing/faults/plans.ts'
import type { FaultContext, Scenario } from './testing/faults/scenario.ts'

/** The quickest of the faults that `npm run test:faults` runs through, by the same code. */
const names = ['dispatcher-killed-before-enqueue', 'duplicates', 'redis-flushed']

/** Somebody takes an item away behind the catalog's back: what judges all others has to see it. */
const forgery: Scenario = { name: 'forgery', plan: standard, run: forgeRemoval }

async function forgeRemoval({ installation, load, oracle, recovered }: FaultContext) {
  await load.flowing(100)
  await load.stop()
  await oracle.check()
  const { itemId, partition } = [...oracle.items.values()].find(({ live }) => live !== null)!
  const version = { epoch: installation.topicEpoch, offset: asOffset(1_000_000) }
  const removed = { type: 'ItemRemoved', itemId, version, acceptedAtMs: Date.now() } as const
  const value = installation.codecs.mutations.encode(removed)
  await installation.log.append(mutationTopic(generation), [
    { partition, key: Buffer.from(mutationKey(removed)), value },
  ])
  return { done: `took ${itemId} away`, recoveryMs: await recovered() }
}

const results = new Map<string, FaultResult>()
const notes: string[] = []

beforeAll(async () => {
  await runFaultMatrix({
    scenarios: [...scenariosNamed(names), forgery],
    seed: 7,
    minutes: 0,
    onNote: line => notes.push(line),
    onResult: result => results.set(result.fault, result),
  })
}, 300_000)

test.each(names)('%s: what was acknowledged is searchable, nothing deleted is, searches go on', name => {
  const result = results.get(name)
  expect(result, notes.join('\n')).toBeDefined()
  const { problems, acknowledged, searches, compared } = result!
  expect(problems).toEqual([])
  expect(acknowledged).toBeGreaterThan(300)
  expect(searches.answered).toBeGreaterThan(0)
  expect(compared!.replicas).toBe(2)
  expect(compared!.liveItems).toBeGreaterThan(100)
})

test('an item that is taken away from outside the catalog is missed, on each replica and by the gateway', () => {
  const { done, hasHeld, problems } = results.get('forgery')!
  const itemId = /^took (.*) away$/.exec(done ?? '')?.[1]
  expect(hasHeld).toBe(false)
  for (const replica of ['g1-0-a', 'g1-0-b']) expect(problems).toContain(`${replica}: ${itemId} is not searchable`)
  expect(problems).toContainEqual(expect.stringMatching(/^gateway: a search of shelf \d did not return /))
})

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { eachRoleOnce, runSwitchWithKills } from './testing/switch/switch-with-kills.ts'

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-switch-'))
})

afterEach(() => {
  rmSync(directory, { recursive: true, force: true })
})

/** `npm run test:switch` kills every role at every state, by the same code. */
test('on Kafka and Redis a model is changed and undone while processes of every role are killed', async () => {
  const { problems, certificates, canary, events, answered, kills } = await runSwitchWithKills({
    directory,
    seed: 20261122,
    victims: eachRoleOnce,
    note: line => process.stdout.write(`${line}\n`),
  })
  expect(problems.slice(0, 20)).toEqual([])
  expect(certificates.map(({ passed }) => passed)).toEqual([true, true, true, true, true])
  expect(canary.passed).toBe(true)
  expect(events).toBeGreaterThan(500)
  expect(new Set(answered.map(({ generation }) => generation))).toEqual(new Set(['g1', 'g2']))
  expect(kills.length).toBe(Object.values(eachRoleOnce).flat().length)
}, 1_200_000)

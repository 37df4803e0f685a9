import { expect, test, vi } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { Polled } from './polled.ts'

test('what was said last holds while there is no answer, and trouble is told once', async () => {
  const troubles: string[] = []
  const answers: (number | FreshetError)[] = [1]
  let asked = 0
  const ask = async (): Promise<number> => {
    const answer = answers[asked++] ?? answers.at(-1)!
    if (answer instanceof FreshetError) throw answer
    return answer
  }
  const polled = await Polled.start({ ask, everyMs: 1, onTrouble: ({ message }) => troubles.push(message) })
  expect([polled.value, polled.failure]).toEqual([1, null])
  answers.push(new FreshetError('queue-unavailable', 'away'))
  await vi.waitFor(() => expect(polled.failure).toMatchObject({ message: 'away' }))
  const before = asked
  await vi.waitFor(() => expect(asked).toBeGreaterThan(before + 2))
  expect([polled.value, troubles]).toEqual([1, ['away']])
  answers.push(...Array.from({ length: asked - answers.length + 2 }, () => answers.at(-1)!), 2)
  await vi.waitFor(() => expect(polled.value).toBe(2))
  expect(polled.failure).toBeNull()
  await polled.close()
  const last = asked
  await new Promise(setImmediate)
  expect(asked).toBe(last)
})

test('a question that hangs does not hold up the end', async () => {
  let asked = 0
  const ask = (): Promise<number> => (asked++ === 0 ? Promise.resolve(1) : new Promise(() => {}))
  const polled = await Polled.start({ ask, everyMs: 1, onTrouble: () => {} })
  await vi.waitFor(() => expect(asked).toBe(2))
  await polled.close()
  expect(polled.value).toBe(1)
})

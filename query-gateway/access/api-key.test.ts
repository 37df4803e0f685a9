import { expect, test } from 'vitest'
import { type ApiKey, covers, keyDigest, keyFrom, keyLine, parseKeyLines } from './api-key.ts'
import { KeyRing } from './key-ring.ts'

const keyOf = (fill: number) => keyFrom(new Uint8Array(32).fill(fill))
const entry = (name: string, fill: number, more: Partial<ApiKey> = {}): ApiKey => ({
  name,
  role: 'read',
  digest: keyDigest(keyOf(fill)),
  requestsPerMinute: null,
  ...more,
})

test('a line says a key without telling it, and is read back', () => {
  const keys = [entry('shop-web', 1), entry('ops', 2, { role: 'admin', requestsPerMinute: 0 })]
  const lines = keys.map(keyLine)
  expect(lines[1]).toMatch(/^ops admin sha256:[0-9a-f]{64} 0\/min$/)
  expect(lines.join()).not.toContain(keyOf(1))
  expect(parseKeyLines(['# ours', '', ...lines, '   '], 'keys.txt')).toEqual(keys)
})

test.each([
  ['a key instead of its digest', `web read ${keyOf(1)}`],
  ['another role', `web owner sha256:${'0'.repeat(64)}`],
  ['half a digest', `web read sha256:${'0'.repeat(32)}`],
  ['a limit that is none', `web read sha256:${'0'.repeat(64)} fast`],
  ['something after it', `web read sha256:${'0'.repeat(64)} 5/min more`],
  ['a name with a colon', `web:1 read sha256:${'0'.repeat(64)}`],
])('%s is refused by line, and not repeated', (_name, line) => {
  const parse = () => parseKeyLines(['# first', line], 'keys.txt')
  expect(parse).toThrow(/^line 2 of keys.txt is not/)
  try {
    parse()
  } catch (thrown) {
    expect(String(thrown)).not.toContain(keyOf(1))
    expect(thrown).toMatchObject({ code: 'config-invalid' })
  }
})

test('one key with two entries is refused', () => {
  expect(() => parseKeyLines([keyLine(entry('a', 1)), keyLine(entry('b', 1))], 'f')).toThrow(
    'line 2 of f is the key of a',
  )
})

test('roles include the lesser ones', () => {
  expect([
    covers('admin', 'write'),
    covers('write', 'read'),
    covers('read', 'write'),
    covers('write', 'admin'),
  ]).toEqual([true, true, false, false])
})

test('a ring finds its keys, others not, and is replaced as a whole', () => {
  const ring = new KeyRing([entry('a', 1), entry('b', 2)])
  expect(ring.find(keyOf(2))).toMatchObject({ name: 'b' })
  for (const wrong of [keyOf(3), keyOf(1).slice(0, -1), `${keyOf(1)}x`, '', 'x'.repeat(10_000)])
    expect(ring.find(wrong)).toBe(null)
  ring.replace([entry('c', 3)])
  expect([ring.find(keyOf(1)), ring.find(keyOf(3))?.name]).toEqual([null, 'c'])
})

test('of two digests with the same beginning, the right one is found', () => {
  const digest = keyDigest(keyOf(1))
  const near = Buffer.from(digest)
  near[31]! ^= 1
  const ring = new KeyRing([entry('near', 0, { digest: near }), entry('right', 1)])
  expect(ring.find(keyOf(1))?.name).toBe('right')
  expect(new KeyRing([entry('near', 0, { digest: near })]).find(keyOf(1))).toBe(null)
})

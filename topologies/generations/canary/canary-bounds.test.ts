import { expect, test } from 'vitest'
import { parseBounds, readBounds } from './canary-bounds.ts'

const sample = { vectors: 10, pictures: 10, labelled: 10, engagements: 10 }
const file = (bounds: readonly object[], more: object = {}): string =>
  JSON.stringify({ name: 'mine', sample, bounds, ...more })

test('the file that comes with Freshet is one', () => {
  const { name, digest, bounds } = readBounds()
  expect(name).toBe('default-1')
  expect(digest).toMatch(/^[0-9a-f]{64}$/)
  expect(bounds.length).toBeGreaterThan(10)
})

test.each([
  ['an unknown measure', file([{ measure: 'labelled.recal@10', atLeast: 1 }]), 'no measure labelled.recal@10'],
  ['an unknown key of a bound', file([{ measure: 'index.ageMs', atmost: 1 }]), '/bounds/0/atmost'],
  ['an unknown key of the file', file([{ measure: 'index.ageMs', atMost: 1 }], { bound: [] }), '/bound'],
  ['a bound without a number', file([{ measure: 'index.ageMs' }]), 'either atLeast or atMost'],
  ['a bound with two', file([{ measure: 'index.ageMs', atMost: 1, atLeast: 0 }]), 'either atLeast or atMost'],
  ['an exemption of a least value', file([{ measure: 'index.ageMs', atLeast: 1, unlessBelow: 3 }]), 'unlessBelow'],
  ['no bounds', file([]), '/bounds'],
  ['what is no JSON', '{', 'not JSON'],
])('%s is refused, and named', (_, text, named) => {
  expect(() => parseBounds(text, 'bounds.json')).toThrow(
    expect.objectContaining({ code: 'config-invalid', message: expect.stringContaining(named) }),
  )
})

test('a file that is not there is refused', () => {
  expect(() => readBounds('/nowhere/bounds.json')).toThrow(expect.objectContaining({ code: 'config-invalid' }))
})

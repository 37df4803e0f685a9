import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Value } from '@sinclair/typebox/value'
import { expect, test } from 'vitest'
import { Item } from '../schemas/http-items.ts'
import { demoItems } from './demo-catalog.ts'

const items = demoItems()

test('820 items of the API, each with an id of its own and a picture that is there', () => {
  expect(items).toHaveLength(820)
  expect(new Set(items.map(({ itemId }) => itemId)).size).toBe(820)
  expect(items.filter(item => !Value.Check(Item, item))).toEqual([])
  expect(items.filter(({ images }) => !existsSync(fileURLToPath(images![0]!)))).toEqual([])
})

test('what is made up is the same in every run, spread out, and said to be made up', () => {
  expect(demoItems()).toEqual(items)
  const available = items.filter(item => item.available).length
  expect(available).toBeGreaterThan(650)
  expect(available).toBeLessThan(800)
  for (const region of ['de', 'fr', 'gb', 'us'])
    expect(items.filter(({ regions }) => regions?.includes(region)).length).toBeGreaterThan(200)
  expect(items.every(({ price, regions }) => price! > 0 && regions!.length > 0)).toBe(true)
  expect(new Set(items.map(({ attributes }) => attributes?.madeUp))).toEqual(new Set(['price, regions, availability']))
})

test('titles are text, not escapes', () => {
  expect(items.filter(({ title }) => title?.includes('\\'))).toEqual([])
  expect(items.map(({ title }) => title)).toContain('Bill 10€')
})

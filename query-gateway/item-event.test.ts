import { describe, expect, test } from 'vitest'
import type { FreshetError } from '../schemas/errors.ts'
import { bulkEvent } from './item-event.ts'

const images = ['https://shop.example/a.jpg']

function failureOf(line: unknown): FreshetError {
  try {
    bulkEvent(line)
  } catch (thrown) {
    return thrown as FreshetError
  }
  throw new Error('the line was accepted')
}

describe('a line', () => {
  test('with the least takes the defaults', () => {
    expect(bulkEvent({ itemId: 'a', imageUrl: images[0] })).toEqual({
      type: 'ItemUpserted',
      itemId: 'a',
      images,
      imageVersion: '',
      refresh: false,
      title: '',
      category: '',
      price: null,
      currency: '',
      regions: [],
      available: true,
      attributes: {},
    })
  })

  test.each([[{ delete: { itemId: 'a' } }], [{ itemId: 'a', deleted: true }]])('%j is a delete', line => {
    expect(bulkEvent(line)).toEqual({ type: 'ItemDeleted', itemId: 'a' })
  })

  test('may wrap its item', () => {
    const item = { itemId: 'a', images, price: 0, attributes: { seats: 3, new: true } }
    expect(bulkEvent({ upsert: item })).toEqual(bulkEvent(item))
  })
})

describe('refused', () => {
  test.each([
    [{ itemId: 'a', images, price: '9.90' }, 'bad-request', 'price: expected a number'],
    [{ itemId: 'a', images, price: -1 }, 'bad-request', 'price: expected a number of zero or more'],
    [{ itemId: 'a', images, price: Number.POSITIVE_INFINITY }, 'bad-request', 'price: '],
    [{ upsert: { itemId: 'a', images, price: '9' } }, 'bad-request', 'upsert.price: '],
    [{ itemId: 'a', images, colour: 'red' }, 'bad-request', 'colour: there is no such field'],
    [{ itemId: 'a', images, regions: 'de' }, 'bad-request', 'regions: expected array'],
    [{ itemId: 'a', images, available: 'yes' }, 'bad-request', 'available: expected boolean'],
    [{ itemId: 'a', images, currency: 'euro' }, 'bad-request', 'currency: '],
    [{ itemId: 'a', images, attributes: { size: [1] } }, 'bad-request', 'attributes.size: expected a string, a number'],
    [
      JSON.parse('{"itemId":"a","images":["https://a.example/"],"attributes":{"__proto__":1}}'),
      'bad-request',
      'attrib',
    ],
    [{ itemId: 'a', images, imageUrl: images[0] }, 'bad-request', 'imageUrl: give imageUrl or images'],
    [{ itemId: 'a' }, 'image-missing', 'images: an item needs'],
    [{ itemId: 'a', images: [] }, 'image-missing', 'images: an item needs'],
    [{ itemId: 'a', images: Array(17).fill(images[0]) }, 'bad-request', 'images: '],
    [{ itemId: 'a', images: [...images, 'ftp://a.example/b'] }, 'image-scheme', 'images.1: '],
    [{ itemId: 'a', images: ['data:image/png;base64,AA=='] }, 'image-scheme', 'images.0: '],
    [{ itemId: 'a', images: ['blob:123'] }, 'image-scheme', 'images.0: '],
    [{ itemId: 'a', imageUrl: 'https://' }, 'image-scheme', 'imageUrl: '],
    [{ images }, 'bad-request', 'itemId: missing'],
    [{ itemId: 5, images }, 'bad-request', 'itemId: expected string'],
    [{ itemId: '', images }, 'bad-item-id', 'empty'],
    [{ itemId: 'a\nb', images }, 'bad-item-id', 'control character'],
    [{ itemId: 'é'.repeat(257), images }, 'bad-item-id', '514 bytes'],
    [{ delete: 'a' }, 'bad-request', 'delete: expected object'],
    [{ itemId: 'a', deleted: false }, 'bad-request', 'deleted: '],
    [null, 'bad-request', 'expected object, got null'],
    [[1], 'bad-request', 'expected object, got array'],
  ])('%j', (line, code, message) => {
    const failure = failureOf(line)
    expect(failure.code).toBe(code)
    expect(failure.message).toContain(message)
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FreshetError } from './errors.ts'
import type { ReplicaId, ShardId } from './ids.ts'
import type { ItemRegisters, ItemSnapshot, SearchFilter, ShardSearchRequest, ShardSearchResult } from './shard-api.ts'
import {
  errorOfAnswer,
  registersWire,
  replicaPath,
  replicaTag,
  searchBatchWire,
  searchRequestWire,
  searchResultsWire,
  statusWire,
  vectorWire,
} from './shard-wire.ts'
import { searchResultWire } from './shard-wire-hits.ts'
import {
  arbitraryBox,
  arbitraryErrorCode,
  arbitraryFingerprint,
  arbitraryGeneration,
  arbitraryImageDigest,
  arbitraryItemId,
  arbitraryOffset,
  arbitraryOffsets,
} from './testing/arbitraries.ts'

/** What JSON can write; the catalogue's attributes are kept as JSON too. */
const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map(value => value + 0)
const text = fc.string({ unit: 'binary', maxLength: 20 })
const texts = fc.array(text, { maxLength: 3 })
const attributeValue = fc.oneof(text, number, fc.boolean())
/** Any bits, NaN with any payload included. */
const vector = fc
  .uint8Array({ minLength: 0, maxLength: 256 })
  .map(bytes => new Float32Array(bytes.slice(0, bytes.length & ~3).buffer))
const plain = <T>(fields: { [Name in keyof T]: fc.Arbitrary<T[Name]> }): fc.Arbitrary<T> =>
  fc.record(fields, { noNullPrototype: true })
const partly = <T>(fields: { [Name in keyof T]-?: fc.Arbitrary<Exclude<T[Name], undefined>> }): fc.Arbitrary<T> =>
  fc.record(fields, { requiredKeys: [], noNullPrototype: true }) as fc.Arbitrary<T>

const filter: fc.Arbitrary<SearchFilter> = partly<SearchFilter>({
  category: texts,
  region: texts,
  available: fc.boolean(),
  price: partly<NonNullable<SearchFilter['price']>>({ min: number, max: number }),
  attributes: fc.dictionary(text, fc.array(attributeValue, { maxLength: 3 }), { maxKeys: 3, noNullPrototype: true }),
})

const request: fc.Arbitrary<ShardSearchRequest> = fc
  .tuple(
    plain({
      generation: arbitraryGeneration,
      fingerprint: arbitraryFingerprint,
      vector,
      k: fc.integer({ min: 1, max: 1_000 }),
    }),
    partly<Pick<ShardSearchRequest, 'filter' | 'exact' | 'excludeItem' | 'explain'>>({
      filter,
      exact: fc.boolean(),
      excludeItem: arbitraryItemId,
      explain: fc.boolean(),
    }),
  )
  .map(([needed, more]) => ({ ...needed, ...more }))

const snapshot: fc.Arbitrary<ItemSnapshot> = plain({
  itemId: arbitraryItemId,
  title: text,
  category: text,
  price: fc.option(number),
  currency: text,
  regions: texts,
  available: fc.boolean(),
  attributes: fc.dictionary(text, attributeValue, { maxKeys: 4, noNullPrototype: true }),
  images: texts,
  imageDigests: fc.array(arbitraryImageDigest, { maxLength: 2 }),
  stale: fc.boolean(),
  version: arbitraryOffset,
})
const plan = fc.constantFrom<ShardSearchResult['plan'][]>('graph', 'scan', 'exact')
const hit = plain({
  similarity: number,
  object: plain({ box: arbitraryBox, label: text, image: fc.nat(7) }),
  item: snapshot,
}).map(found => ({ itemId: found.item.itemId, ...found }))
const result: fc.Arbitrary<ShardSearchResult> = plain({
  hits: fc.array(hit, { maxLength: 4 }),
  watermarks: arbitraryOffsets,
  indexAgeMs: number,
  plan,
})
const timeMs = fc.option(fc.nat())
const registers: fc.Arbitrary<ItemRegisters> = plain({
  attributes: arbitraryOffset,
  objects: arbitraryOffset,
  removal: arbitraryOffset,
  failure: arbitraryOffset,
  failureDetail: fc.option(plain({ code: arbitraryErrorCode, message: text, retryable: fc.boolean() })),
  searchable: fc.boolean(),
  objectList: fc.array(plain({ box: arbitraryBox, label: text, score: number, image: fc.nat(7) }), { maxLength: 3 }),
  snapshot: fc.option(snapshot),
  watermark: arbitraryOffset,
  times: plain({ attributesMs: timeMs, objectsMs: timeMs, removalMs: timeMs, failureMs: timeMs }),
})

const bitsOf = (of: Float32Array): Uint8Array => new Uint8Array(of.buffer, of.byteOffset, of.byteLength)

describe('what is sent arrives', () => {
  test('a search, its vector to the last bit', () => {
    fc.assert(
      fc.property(request, sent => {
        const got = searchRequestWire.decode(searchRequestWire.encode(sent))
        expect({ ...got, vector: [] }).toStrictEqual({ ...sent, vector: [] })
        expect(bitsOf(got.vector)).toEqual(bitsOf(sent.vector))
      }),
    )
  })

  test('the vector of a view into a larger array', () => {
    const larger = Float32Array.of(9, 1, 2, 3, 9)
    expect(vectorWire.decode(vectorWire.encode(larger.subarray(1, 4)))).toEqual(Float32Array.of(1, 2, 3))
    expect(vectorWire.decode(vectorWire.encode(null))).toBeNull()
  })

  test('an answer', () => {
    fc.assert(
      fc.property(result, sent => {
        expect(plainly(searchResultWire.decode(searchResultWire.encode(sent)))).toStrictEqual(sent)
      }),
    )
  })

  test('registers', () => {
    fc.assert(
      fc.property(registers, sent => {
        expect(registersWire.decode(registersWire.encode(sent))).toStrictEqual(sent)
      }),
    )
  })

  test('a batch and its answers, in order', () => {
    const [requests, results] = [fc.sample(request, 5), fc.sample(result, 5)]
    expect(searchBatchWire.decode(searchBatchWire.encode(requests)).map(({ k }) => k)).toEqual(
      requests.map(({ k }) => k),
    )
    expect(searchResultsWire.decode(searchResultsWire.encode(results))).toStrictEqual(results)
  })
})

describe('what is no such thing is refused', () => {
  const [sent] = fc.sample(request, { numRuns: 1, seed: 7 }) as [ShardSearchRequest]
  const [answered] = fc.sample(
    result.filter(({ hits }) => hits.length > 0),
    { numRuns: 1, seed: 7 },
  ) as [ShardSearchResult]
  const wire = JSON.parse(searchRequestWire.encode(sent))
  const lines = searchResultWire.encode(answered).split('\n')
  const withFirst = (fields: object): string =>
    [JSON.stringify({ ...JSON.parse(lines[0]!), ...fields }), ...lines.slice(1)].join('\n')

  test.each([
    ['nothing', ''],
    ['no JSON', '{"k":'],
    ['null', 'null'],
    ['an unknown field', JSON.stringify({ ...wire, prefilter: true })],
    ['no k', JSON.stringify({ ...wire, k: undefined })],
    ['too large a k', JSON.stringify({ ...wire, k: 1_001 })],
    ['a vector that is no base64', JSON.stringify({ ...wire, vector: 'ä' })],
    ['half a component', JSON.stringify({ ...wire, vector: 'AAA=' })],
    ['a vector beyond bounds', JSON.stringify({ ...wire, vector: 'AAAA'.repeat(6_000) })],
  ])('a search with %s is a bad request', (_name, body) => {
    expect(codeOf(() => searchRequestWire.decode(body))).toBe('bad-request')
  })

  test.each([
    ['nothing', ''],
    ['an error', JSON.stringify(new FreshetError('internal', 'x').toBody())],
    ['half of it', searchResultWire.encode(answered).slice(0, -20)],
    ['hits that are none', withFirst({ hits: [1] })],
    ['a column too short', withFirst({ hits: { ...JSON.parse(lines[0]!).hits, similarity: [] } })],
    ['a column that is missing', withFirst({ hits: { ...JSON.parse(lines[0]!).hits, itemId: undefined } })],
    ['an item too few', lines.slice(0, -1).join('\n')],
    ['an item too many', [...lines, lines.at(-1)].join('\n')],
    ['an item that is no list', [...lines.slice(0, -1), '{}'].join('\n')],
    ['an empty line', `${searchResultWire.encode(answered)}\n`],
    [
      'a similarity beyond numbers',
      searchResultWire.encode(answered).replace(String(answered.hits[0]!.similarity), '1e999'),
    ],
    ['an offset that is none', withFirst({ watermarks: { 0: 0.5 } })],
    ['a plan nobody knows', withFirst({ plan: 'guess' })],
  ])('an answer with %s is that of no replica', (_name, body) => {
    expect(codeOf(() => searchResultWire.decode(body))).toBe('replica-unavailable')
    expect(codeOf(() => statusWire.decode(body))).toBe('replica-unavailable')
  })

  test('a line of another shape is found when it is looked at', () => {
    const last = (row: string, rest: string) =>
      searchResultWire.decode([...lines.slice(0, -2), row, rest].join('\n')).hits.at(-1)!
    const { item } = last(lines.at(-2)!, '[1,{},[],false,0]')
    expect(item.itemId).toBe(answered.hits.at(-1)!.itemId)
    expect(item.title).toBe(answered.hits.at(-1)!.item.title)
    for (const look of [() => item.regions, () => item.attributes, () => item.stale, () => item.version])
      expect(codeOf(look)).toBe('replica-unavailable')
    const hit = last('[0,[0,0,1],"","","",null,"",true,[]]', lines.at(-1)!)
    expect([hit.itemId, hit.item.stale]).toEqual([answered.hits.at(-1)!.itemId, answered.hits.at(-1)!.item.stale])
    for (const look of [() => hit.object, () => hit.item.title, () => hit.item.price, () => hit.item.imageDigests])
      expect(codeOf(look)).toBe('replica-unavailable')
  })

  test('any text decodes or is refused, and nothing else is thrown', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), body => {
        for (const { decode } of [searchResultWire, registersWire, statusWire, vectorWire])
          expect([undefined, 'replica-unavailable']).toContain(codeOf(() => decode(body)))
      }),
    )
  })
})

test('an error arrives with its code and details; one in other words is the failure of the replica', () => {
  const error = new FreshetError('vector-dimension', 'of 3', { details: { field: 'vector' } })
  expect(errorOfAnswer(JSON.stringify(error.toBody()))).toMatchObject({
    code: 'vector-dimension',
    message: 'of 3',
    retryable: false,
    details: { field: 'vector' },
  })
  for (const body of ['', '<html>', '{"error":{"code":"of-next-year","message":"","retryable":true}}'])
    expect(errorOfAnswer(body).code).toBe('replica-unavailable')
})

test('a failure code that a newer version added reads as the general one', () => {
  const [known] = fc.sample(registers, { numRuns: 1, seed: 1 }) as [ItemRegisters]
  const text = JSON.stringify({ ...known, failureDetail: { code: 'of-next-year', message: 'm', retryable: true } })
  expect(registersWire.decode(text).failureDetail).toEqual({ code: 'internal', message: 'm', retryable: true })
})

test('names of replicas fit into paths and headers', () => {
  const replica = 'g1/0 ü' as ReplicaId
  expect(replicaPath(replica)).toBe('/shard/v1/g1%2F0%20%C3%BC')
  expect(replicaTag({ generation: 'g1' as never, shard: 0 as ShardId, replica })).toBe('g1/0/g1%2F0%20%C3%BC')
})

/** With all fields of items read. */
function plainly({ hits, ...others }: ShardSearchResult): ShardSearchResult {
  const read = <T>(read: T & { toJSON?(): T }): T => read.toJSON!()
  return { hits: hits.map(hit => ({ ...read(hit), item: read(hit.item) })), ...others }
}

function codeOf(decode: () => unknown): string | undefined {
  try {
    decode()
    return undefined
  } catch (thrown) {
    return thrown instanceof FreshetError ? thrown.code : String(thrown)
  }
}

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LineSplitter, type ParsedLine } from './line-splitter.ts'

function split(chunks: readonly Uint8Array[], maxLineBytes = 1000): readonly ParsedLine[] {
  const splitter = new LineSplitter(maxLineBytes)
  const lines = chunks.flatMap(chunk => [...splitter.push(Buffer.from(chunk))])
  const last = splitter.end()
  return last ? [...lines, last] : lines
}

const told = (lines: readonly ParsedLine[]) =>
  lines.map(line => ('error' in line ? [line.line, line.error.code] : [line.line, line.value]))

test('lines are the same however the stream is cut', () => {
  const line = fc.oneof(fc.json(), fc.constantFrom('', '  ', '{', '"é😀"', '\r', 'x'.repeat(50)))
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), fc.boolean(), fc.array(fc.nat(30)), (lines, ends, cuts) => {
      const stream = Buffer.from(lines.join('\n') + (ends ? '\n' : ''))
      const chunks: Uint8Array[] = []
      let at = 0
      for (const cut of cuts) {
        chunks.push(stream.subarray(at, at + cut))
        at += cut
      }
      chunks.push(stream.subarray(at))
      expect(told(split(chunks, 40))).toEqual(told(split([stream], 40)))
    }),
  )
})

test('a line that is no JSON, no UTF-8 or too long is told by its number, and its neighbours are read', () => {
  const stream = Buffer.concat([
    Buffer.from('{"a":1}\n{"a":\n"'),
    Buffer.from([0xff, 0xfe]),
    Buffer.from(`"\n\n"${'x'.repeat(60)}"\n"${'y'.repeat(2000)}"\n[2]`),
  ])
  expect(told(split([stream], 62))).toEqual([
    [1, { a: 1 }],
    [2, 'bad-request'],
    [3, 'bad-request'],
    [5, 'x'.repeat(60)],
    [6, 'body-too-large'],
    [7, [2]],
  ])
})

test('a line over the limit is not kept while it comes', () => {
  const splitter = new LineSplitter(10)
  for (let i = 0; i < 5; i++) expect([...splitter.push(Buffer.alloc(8, 120))]).toEqual([])
  expect(told([...splitter.push(Buffer.from('\n1\n'))])).toEqual([
    [1, 'body-too-large'],
    [2, 1],
  ])
})

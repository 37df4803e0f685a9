import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { lz4Codec, snappyCodec, zstdCodec } from './compression-codecs.ts'

/** The golden files are what Java's kafka-clients 4.3.1 make of this text (`Compression.wrapForOutput`). */
const text = 'freshet '.repeat(10_000)

test.each([
  ['snappy', snappyCodec],
  ['lz4', lz4Codec],
  ['zstd', zstdCodec],
])('what a Java producer compresses with %s is read', async (name, codec) => {
  const compressed = readFileSync(new URL(`golden/java-${name}.bin`, import.meta.url))
  expect((await codec.decompress(compressed)).toString() === text).toBe(true)
})

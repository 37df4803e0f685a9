import { promisify } from 'node:util'
import { zstdDecompress } from 'node:zlib'
import kafkajs from 'kafkajs'
import lz4 from 'lz4js'
import snappy from 'snappyjs'

/** As kafkajs calls it to read a batch; nothing here compresses. */
export interface Decompression {
  decompress(compressed: Buffer): Promise<Buffer>
}

/** A batch that claims to be larger is refused, not allocated: no broker takes one in a request of more. */
const maxUncompressedBytes = 128 * 2 ** 20

export const snappyCodec: Decompression = { decompress: async compressed => uncompressSnappy(compressed) }
export const lz4Codec: Decompression = { decompress: async compressed => Buffer.from(lz4.decompress(compressed)) }
export const zstdCodec: Decompression = {
  decompress: compressed => promisify(zstdDecompress)(compressed, { maxOutputLength: maxUncompressedBytes }),
}

/** Without these a batch that a foreign producer compressed ends the consumer: kafkajs itself has gzip alone. */
export function registerCompressionCodecs(): void {
  const { CompressionCodecs, CompressionTypes } = kafkajs
  CompressionCodecs[CompressionTypes.Snappy] = () => snappyCodec
  CompressionCodecs[CompressionTypes.LZ4] = () => lz4Codec
  CompressionCodecs[CompressionTypes.ZSTD] = () => zstdCodec
}

/**
 * Java's producers wrap Snappy: this magic, two versions of 4 bytes, then blocks of a length (4 bytes, big-endian) and
 * that many compressed bytes. librdkafka's send the bare block.
 * Source: https://github.com/xerial/snappy-java, SnappyOutputStream.
 */
const wrapperMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
const wrapperHeaderBytes = 16

function uncompressSnappy(buffer: Buffer): Buffer {
  if (!buffer.subarray(0, wrapperMagic.length).equals(wrapperMagic)) return uncompressBlock(buffer)
  const blocks: Buffer[] = []
  let at = wrapperHeaderBytes
  while (at < buffer.length) {
    const length = buffer.readUInt32BE(at)
    blocks.push(uncompressBlock(buffer.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
  return Buffer.concat(blocks)
}

function uncompressBlock(block: Buffer): Buffer {
  return snappy.uncompress(block, maxUncompressedBytes)
}

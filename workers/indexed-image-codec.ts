import type { ImageDigest } from '../schemas/ids.ts'
import type { EmbeddedObject, IndexedImage } from '../schemas/image-analysis.ts'
import type { Box } from '../schemas/mutation.ts'

/**
 * Format of the embedding cache, version 1, little-endian:
 * u8 version · u32 width · u32 height · u8 objects, then per object
 * 4 × f64 box · f64 score · u8 label bytes · label (UTF-8) · u16 vector bytes · vector.
 */
const formatVersion = 1
const headBytes = 10
const objectFixedBytes = 5 * 8 + 1 + 2

export function encodeIndexedImage(image: IndexedImage): Uint8Array {
  const labels = image.objects.map(object => Buffer.from(object.label).subarray(0, 255))
  const size = image.objects.reduce(
    (sum, object, i) => sum + objectFixedBytes + labels[i]!.length + object.vector.length,
    headBytes,
  )
  const out = Buffer.allocUnsafe(size)
  let at = out.writeUInt8(formatVersion, 0)
  at = out.writeUInt32LE(image.width, at)
  at = out.writeUInt32LE(image.height, at)
  at = out.writeUInt8(image.objects.length, at)
  image.objects.forEach((object, i) => {
    const label = labels[i]!
    for (const number of [...object.box, object.score]) at = out.writeDoubleLE(number, at)
    at = out.writeUInt8(label.length, at)
    at += label.copy(out, at)
    at = out.writeUInt16LE(object.vector.length, at)
    out.set(object.vector, at)
    at += object.vector.length
  })
  return out
}

/** Undefined for another format version: the cache may forget, so an old entry is a miss. */
export function decodeIndexedImage(bytes: Uint8Array, digest: ImageDigest): IndexedImage | undefined {
  const input = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (input.length < headBytes || input.readUInt8(0) !== formatVersion) return undefined
  const objects: EmbeddedObject[] = []
  let at = headBytes
  for (let remaining = input.readUInt8(9); remaining > 0; remaining--) {
    const numbers = Array.from({ length: 5 }, (_, i) => input.readDoubleLE(at + 8 * i))
    const labelAt = at + 41
    const vectorAt = labelAt + input.readUInt8(at + 40) + 2
    const vectorEnd = vectorAt + input.readUInt16LE(vectorAt - 2)
    objects.push({
      box: numbers.slice(0, 4) as unknown as Box,
      label: input.toString('utf8', labelAt, vectorAt - 2),
      score: numbers[4]!,
      // A copy: the bytes of a memory-mapped store are only good until the next turn.
      vector: new Uint8Array(input.subarray(vectorAt, vectorEnd)),
    })
    at = vectorEnd
  }
  return { digest, width: input.readUInt32LE(1), height: input.readUInt32LE(5), objects }
}

export type PictureFormat = 'jpeg' | 'png' | 'webp' | 'avif' | 'gif' | 'tiff'

/** Enough bytes for every signature below. */
export const signatureBytes = 64

/**
 * Format by the first bytes, never by name or content type; null for everything else. What is null here never reaches
 * the decoder: its SVG, PDF and magick loaders are a surface nobody asked for.
 */
export function sniffPicture(head: Uint8Array): PictureFormat | null {
  if (startsWith(head, [0xff, 0xd8, 0xff])) return 'jpeg'
  if (startsWith(head, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return 'png'
  if (ascii(head, 0, 4) === 'RIFF' && ascii(head, 8, 12) === 'WEBP') return 'webp'
  if (ascii(head, 0, 6) === 'GIF87a' || ascii(head, 0, 6) === 'GIF89a') return 'gif'
  if (startsWith(head, [0x49, 0x49, 0x2a, 0]) || startsWith(head, [0x4d, 0x4d, 0, 0x2a])) return 'tiff'
  if (startsWith(head, [0x49, 0x49, 0x2b, 0]) || startsWith(head, [0x4d, 0x4d, 0, 0x2b])) return 'tiff'
  return isAvif(head) ? 'avif' : null
}

/** An ISO media file whose major or compatible brands name AVIF; HEIC (HEVC) shares the container and is not it. */
function isAvif(head: Uint8Array): boolean {
  if (ascii(head, 4, 8) !== 'ftyp') return false
  const end = Math.min(head.length, (head[2]! << 8) | head[3]!)
  for (let at = 8; at + 4 <= end; at += 4) {
    const brand = ascii(head, at, at + 4)
    if (brand === 'avif' || brand === 'avis') return true
  }
  return false
}

function startsWith(head: Uint8Array, signature: readonly number[]): boolean {
  return signature.every((byte, i) => head[i] === byte)
}

function ascii(head: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...head.subarray(from, to))
}

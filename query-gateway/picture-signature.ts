/** Longest prefix that `pictureType` looks at. */
export const signatureBytes = 32

/** Media type of a picture by its first bytes, never by what a client says; null when it is none that is indexed. */
export function pictureType(head: Uint8Array): string | null {
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, signatureBytes)).toString('latin1')
  if (text.startsWith('\xff\xd8\xff')) return 'image/jpeg'
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'image/png'
  if (text.startsWith('GIF87a') || text.startsWith('GIF89a')) return 'image/gif'
  if (text.startsWith('RIFF') && text.startsWith('WEBP', 8)) return 'image/webp'
  if (/^(II\*\0|MM\0\*|II\+\0|MM\0\+)/.test(text)) return 'image/tiff'
  if (text.startsWith('ftyp', 4) && /avif|avis/.test(text.slice(8))) return 'image/avif'
  return null
}

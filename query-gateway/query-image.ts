import { FreshetError } from '../schemas/errors.ts'
import type { DetectRequest } from '../schemas/http-search.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import type { ImageBytes } from '../schemas/image-analysis.ts'
import type { GatewayBlobs, GatewayPorts } from './ports.ts'

/** A picture in a request: an upload, or a reference that is not an item. */
export type QueryPicture = Uint8Array | Exclude<DetectRequest['image'], { itemId: string }>

export interface ResolvedPicture {
  readonly image: ImageBytes
  /** Null for an upload that is not stored. */
  readonly digest: ImageDigest | null
}

/**
 * The bytes of a query picture, or where they lie.
 * @throws FreshetError `bad-request` | image-* | `blob-not-found`
 */
export async function resolvePicture(
  picture: QueryPicture,
  ports: Pick<GatewayPorts, 'blobs' | 'fetchImage'>,
  limits: { readonly imageMaxBytes: number; readonly signal: AbortSignal },
): Promise<ResolvedPicture> {
  if (picture instanceof Uint8Array) return uploaded(picture, limits.imageMaxBytes)
  if ('base64' in picture) return uploaded(decodeBase64(picture.base64), limits.imageMaxBytes)
  const digest = 'blob' in picture ? digestOf(picture.blob) : await fetched(picture.url, ports, limits.signal)
  return { image: storedImage(digest, ports.blobs), digest }
}

/** @throws FreshetError `blob-not-found` */
export function storedImage(digest: ImageDigest, blobs: GatewayBlobs): { readonly path: string } {
  if (!blobs.has(digest)) throw new FreshetError('blob-not-found', `no blob ${digest} is stored`)
  return { path: blobs.path(digest) }
}

/** Digest in a reference `blob:<sha256>` whose form was checked. */
export function digestOf(reference: string): ImageDigest {
  return reference.slice('blob:'.length) as ImageDigest
}

function fetched(url: string, ports: Pick<GatewayPorts, 'fetchImage'>, signal: AbortSignal): Promise<ImageDigest> {
  if (!/^https?:\/\//i.test(url))
    throw new FreshetError('image-scheme', 'image.url: a query takes http: and https: URLs; upload other pictures')
  return ports.fetchImage(url, signal)
}

function uploaded(bytes: Uint8Array, maxBytes: number): ResolvedPicture {
  if (bytes.length === 0) throw new FreshetError('image-empty', 'the image has no bytes')
  if (bytes.length > maxBytes)
    throw new FreshetError('image-too-large', `the image has ${bytes.length} bytes, the limit is ${maxBytes}`)
  return { image: { bytes }, digest: null }
}

/** Takes a data URL too; refuses what Buffer would skip silently. */
function decodeBase64(text: string): Uint8Array {
  const base64 = text.startsWith('data:') ? text.slice(text.indexOf(',') + 1) : text
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(base64))
    throw new FreshetError('bad-request', 'image.base64: expected base64', { details: { field: 'image.base64' } })
  return Buffer.from(base64, 'base64')
}

import type { Fingerprint, ImageDigest } from './ids.ts'
import type { Box } from './mutation.ts'

/** One object a generation's detector sees in a picture. */
export interface DetectedObject {
  readonly box: Box
  /** The detector's class name: a hint, never shown to users and never a filter. */
  readonly label: string
  readonly score: number
}

/** An object of an indexed picture with its vector: little-endian f16, unit length. */
export interface EmbeddedObject extends DetectedObject {
  readonly vector: Uint8Array
}

/** What indexing keeps of one picture: the whole picture first (empty label, score 1), then boxes when it shows a scene. */
export interface IndexedImage {
  readonly digest: ImageDigest
  readonly width: number
  readonly height: number
  readonly objects: readonly EmbeddedObject[]
  /** When its parts were done, of a picture that was indexed just now by a model that tells. */
  readonly steps?: readonly StepTime[]
}

/** One part of the work on a picture. Crops are made and embedded a few at a time, so some come more than once. */
export interface StepTime {
  readonly name: 'decode' | 'detect' | 'crop' | 'embed'
  /** Ms since 1970. */
  readonly beganAtMs: number
  readonly tookMs: number
}

export type ImageBytes = { readonly path: string } | { readonly bytes: Uint8Array }

/**
 * What to embed of a query picture: the box given, the object with this index in the detector's list, the most
 * salient thing (the best box of a scene, else the whole picture), the whole picture, or nothing (detection only).
 */
export type QuerySelection = { readonly box: Box } | { readonly object: number } | 'salient' | 'whole' | 'none'

export interface AnalysedImage {
  /** Of the EXIF-oriented picture as decoded (longer side at most 1,600). */
  readonly width: number
  readonly height: number
  /** Detector's boxes, best first. The index of an object is its place here. */
  readonly objects: readonly DetectedObject[]
  /** What was embedded; object is null when no detected object was chosen. Null with selection `none`. */
  readonly searched: { readonly box: Box; readonly object: number | null } | null
  /** Unit vector, f32; null with selection `none`. */
  readonly vector: Float32Array | null
  readonly timingMs: { readonly decode: number; readonly detect: number; readonly embed: number }
}

/** The model set of one generation as its users see it: the supervised children behind it are `workers`' affair. */
export interface ImageModel {
  /** Name of the model set, such as `v1`. */
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  /** Detect, crop and embed for indexing; batched across calls. Rejects with image-* or decoder-* codes. */
  index(image: ImageBytes, digest: ImageDigest, signal?: AbortSignal): Promise<IndexedImage>
  /** The same preprocessing for a query; goes ahead of all indexing work. @throws FreshetError image-*, decoder-*, `object-not-found`, `overloaded` */
  analyse(image: ImageBytes, selection: QuerySelection, signal?: AbortSignal): Promise<AnalysedImage>
}

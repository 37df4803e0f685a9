import { asFreshetError, type ErrorCode, FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import type { AnalysedImage, ImageBytes, IndexedImage, QuerySelection } from '../schemas/image-analysis.ts'

/** Work for a model process. Not a wire format: both ends are always the same code. */
export type PictureRequest =
  | { readonly type: 'index'; readonly image: ImageBytes; readonly digest: ImageDigest }
  | { readonly type: 'analyse'; readonly image: ImageBytes; readonly selection: QuerySelection }

export type ToModelProcess =
  | { readonly type: 'work'; readonly id: number; readonly request: PictureRequest }
  /** Nobody waits for it any more. It is answered all the same, with whatever came first. */
  | { readonly type: 'cancel'; readonly id: number }

export type FromModelProcess =
  | { readonly type: 'ready' }
  /** The process could not start; it ends after this. */
  | { readonly type: 'refused'; readonly error: SentError }
  | { readonly type: 'answer'; readonly id: number; readonly rssBytes: number; readonly outcome: Outcome }

export type Outcome =
  | { readonly type: 'done'; readonly result: IndexedImage | AnalysedImage }
  | { readonly type: 'failed'; readonly error: SentError }

/** An error between processes: an Error of the structured clone would lose its code. */
export interface SentError {
  readonly code: ErrorCode
  readonly message: string
}

export function toSentError(thrown: unknown): SentError {
  const { code, message } = asFreshetError(thrown)
  return { code, message }
}

export function fromSentError({ code, message }: SentError): FreshetError {
  return new FreshetError(code, message)
}

import { isBox } from '../schemas/accept-mutation.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { DetectRequest, Filter, SearchQuery, SearchRequest } from '../schemas/http-search.ts'
import { type ItemId, parseItemId } from '../schemas/ids.ts'
import type { QuerySelection } from '../schemas/image-analysis.ts'
import type { SearchFilter } from '../schemas/shard-api.ts'
import type { QueryPicture } from './query-image.ts'

export type QuerySubject =
  | { readonly kind: 'picture'; readonly picture: QueryPicture; readonly selection: QuerySelection }
  | { readonly kind: 'item'; readonly itemId: ItemId; readonly object: number }
  | { readonly kind: 'vector'; readonly vector: readonly number[]; readonly fingerprint: string }

/** A search whose parts fit together. */
export interface VisualQuery {
  readonly subject: QuerySubject
  readonly wish: SearchQuery
}

export type DetectSubject = Uint8Array | DetectRequest['image']

/** The rules of a search request that its shape cannot state. @throws FreshetError `bad-request` | `bad-item-id` */
export function parseSearch(request: SearchRequest | UploadedSearch, maxK: number): VisualQuery {
  if (request.k !== undefined && request.k > maxK) throw wrong('k', `the limit is ${maxK}`)
  return { subject: subjectOf(request), wish: request }
}

/** The multipart form: the file, and what was in `query`. */
export type UploadedSearch = SearchQuery & { readonly upload: Uint8Array }

function subjectOf(request: SearchRequest | UploadedSearch): QuerySubject {
  if ('upload' in request) return { kind: 'picture', picture: request.upload, selection: selectionOf(request) }
  const { image, vector, fingerprint } = request
  if ((image === undefined) === (vector === undefined))
    throw wrong('image', 'give either image, or vector and fingerprint')
  if (image !== undefined && !('itemId' in image))
    return { kind: 'picture', picture: image, selection: selectionOf(request) }
  if (request.box !== undefined || request.object !== undefined)
    throw wrong(request.box ? 'box' : 'object', 'only with a picture; of an item choose image.object')
  if (image !== undefined) return { kind: 'item', itemId: parseItemId(image.itemId), object: image.object ?? 0 }
  if (fingerprint === undefined) throw wrong('fingerprint', 'a vector needs the fingerprint of its model')
  return { kind: 'vector', vector: vector!, fingerprint }
}

function selectionOf({ box, object }: SearchQuery): QuerySelection {
  if (box !== undefined && object !== undefined) throw wrong('object', 'give box or object, not both')
  if (object !== undefined) return { object }
  if (box === undefined) return 'salient'
  if (!isBox(box)) throw wrong('box', 'expected [x0, y0, x1, y1] with x0 < x1 and y0 < y1')
  return { box }
}

/** Single values as lists of one. */
export function shardFilter(filter: Filter): SearchFilter {
  const { category, region, available, price, attributes } = filter
  return {
    ...(category === undefined ? {} : { category: asList(category) }),
    ...(region === undefined ? {} : { region: asList(region) }),
    ...(available === undefined ? {} : { available }),
    ...(price === undefined ? {} : { price }),
    ...(attributes === undefined
      ? {}
      : { attributes: Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, asList(value)])) }),
  }
}

function asList<T extends string | number | boolean>(value: T | readonly T[]): readonly T[] {
  return typeof value === 'object' ? value : [value]
}

function wrong(field: string, reason: string): FreshetError {
  return new FreshetError('bad-request', `${field}: ${reason}`, { details: { field } })
}

import swagger from '@fastify/swagger'
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import type { FastifySchema } from 'fastify'
import { ErrorShape } from '../schemas/http-shape.ts'
import type { GatewayApp } from './gateway-app.ts'
import { completeDocument, markComponents } from './openapi-document.ts'

const tags = [
  { name: 'search', description: 'Find items by a picture, a part of one, an item or a vector' },
  { name: 'items', description: 'Publish item events and follow them to the index' },
  { name: 'operate', description: 'State of the index, models, generations and dead letters' },
] as const

export interface RouteDescription {
  readonly tag: (typeof tags)[number]['name']
  /** Name of the operation for generated clients. */
  readonly operationId: string
  readonly summary: string
  readonly description?: string
  readonly params?: TObject
  readonly querystring?: TObject
  /** One JSON shape, or schemas by content type; the latter are checked by the handler. */
  readonly body?: TSchema | { readonly content: Readonly<Record<string, { readonly schema: object }>> }
  readonly response: Readonly<Record<number, object>>
}

export const itemParams = Type.Object({
  id: Type.String({ description: 'item id, percent-encoded', examples: ['sofa-17'] }),
})

/** A file in `image`, the rest as JSON in `query`. */
export function uploadForm(query: TSchema): object {
  const [example = {}] = (query.examples ?? []) as readonly object[]
  const fields = { image: Type.Unsafe<Uint8Array>({ type: 'string', format: 'binary' }), query: Type.Optional(query) }
  return Type.Object(fields, { examples: [{ image: 'the bytes of a picture', query: example }] })
}

/** Any bytes or text of a content type, described in words. */
export function described(contentType: string, description: string): object {
  return { description, content: { [contentType]: { schema: { type: 'string' } } } }
}

/** Schema of a route for validation and documentation; failures look alike everywhere. */
export function describeRoute<const T extends RouteDescription>(route: T): FastifySchema & Omit<T, 'tag'> {
  const { tag, response, ...rest } = route
  return { ...rest, tags: [tag], response: { ...response, default: ErrorShape } } as FastifySchema & Omit<T, 'tag'>
}

/** Serves `/openapi.json`, generated from the shapes that validate. Registered before the routes it describes. */
export async function registerOpenApi(app: GatewayApp): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Freshet',
        version: '1',
        description: 'A visual-search index that is never stale.',
        license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
      },
      tags: [...tags],
    },
    transform: ({ schema, url }) => ({ schema: markComponents(schema) as FastifySchema, url }),
    transformObject: document => ('openapiObject' in document ? completeDocument(document.openapiObject) : {}),
  })
  // Nothing of it changes once the routes are there.
  let document: object | null = null
  app.get('/openapi.json', { schema: { hide: true } }, async () => {
    document ??= app.swagger()
    return document
  })
}

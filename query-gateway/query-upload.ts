import type { MultipartValue } from '@fastify/multipart'
import type { Static, TSchema } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { FreshetError } from '../schemas/errors.ts'
import type { ShapeCheck } from './shape-check.ts'

/** The parts of a multipart query: the file in `image`, the rest as JSON in `query`, in either order. */
export interface QueryUpload<Query> {
  readonly upload: Uint8Array
  readonly query: Query
}

/** @throws FreshetError `bad-request` | `image-too-large` */
export async function readQueryUpload<T extends TSchema>(
  request: FastifyRequest,
  check: ShapeCheck<T>,
): Promise<QueryUpload<Static<T>>> {
  const { upload, query } = await readParts(request).catch(thrown => {
    throw isKnown(thrown) ? thrown : new FreshetError('bad-request', 'the form is malformed', { cause: thrown })
  })
  if (upload === null) throw new FreshetError('bad-request', 'image: the form has no file of this name')
  check(query)
  return { upload, query }
}

async function readParts(request: FastifyRequest) {
  let upload: Uint8Array | null = null
  let query: unknown = {}
  for await (const part of request.parts()) {
    if (part.type === 'file' && part.fieldname === 'image' && upload === null) upload = await part.toBuffer()
    else if (part.type === 'field' && part.fieldname === 'query') query = parseQuery(part)
    else
      throw new FreshetError(
        'bad-request',
        `the form takes one file "image" and one field "query", not "${part.fieldname}"`,
      )
  }
  return { upload, query }
}

/** The parser throws plain errors for forms that are cut short or have no boundary. */
function isKnown(thrown: unknown): boolean {
  return thrown instanceof FreshetError || (thrown instanceof Error && 'code' in thrown)
}

/** A part that says it is JSON comes parsed already. */
function parseQuery({ value }: MultipartValue): unknown {
  if (typeof value !== 'string') return value
  try {
    return JSON.parse(value)
  } catch (thrown) {
    throw new FreshetError('bad-request', 'query: not valid JSON', { cause: thrown, details: { field: 'query' } })
  }
}

import type { MultipartFile, MultipartValue } from '@fastify/multipart'
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
  const checkQuery: ShapeCheck<T> = check
  let upload: Uint8Array | null = null
  let query: unknown = {}
  for await (const part of request.parts()) {
    if (part.type === 'file' && part.fieldname === 'image' && upload === null) upload = await bytesOf(part)
    else if (part.type === 'field' && part.fieldname === 'query') query = parseQuery(part)
    else
      throw new FreshetError(
        'bad-request',
        `the form takes one file "image" and one field "query", not "${part.fieldname}"`,
      )
  }
  if (upload === null) throw new FreshetError('bad-request', 'image: the form has no file of this name')
  checkQuery(query)
  return { upload, query }
}

async function bytesOf(part: MultipartFile): Promise<Uint8Array> {
  return part.toBuffer()
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

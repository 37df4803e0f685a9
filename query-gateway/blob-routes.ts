import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { Type } from '@sinclair/typebox'
import type { FastifyReply } from 'fastify'
import { FreshetError } from '../schemas/errors.ts'
import { StoredBlob } from '../schemas/http-items.ts'
import { type ImageDigest, parseItemId } from '../schemas/ids.ts'
import type { ImageBytes } from '../schemas/image-analysis.ts'
import { partitionOf } from '../schemas/partition.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { mainGeneration } from './generation-choice.ts'
import { described, describeRoute, itemParams } from './openapi.ts'
import { pictureType, signatureBytes } from './picture-signature.ts'
import type { GatewayBlobs } from './ports.ts'
import { askInTurn } from './replica-roster.ts'

/** Stored pictures, and those of items. */
export function pictureRoutes(app: GatewayApp, { ports, roster }: GatewayParts): void {
  app.get('/v1/blobs/:digest', { schema: blobSchema }, async (request, reply) => {
    const digest = request.params.digest as ImageDigest
    reply.header('cache-control', 'public, max-age=31536000, immutable')
    return sendPicture(reply, await ports.blobs.image(digest))
  })

  app.get('/v1/items/:id/image', { schema: itemImageSchema }, async (request, reply) => {
    const itemId = parseItemId(request.params.id)
    const { generation } = mainGeneration(ports.routing())
    const owner = roster.owner(generation, partitionOf(itemId, ports.partitions))
    const { snapshot } = await askInTurn(owner, replica => replica.registers(itemId))
    if (!snapshot) throw new FreshetError('item-not-found', 'the item is deleted or unknown')
    const digest = snapshot.imageDigests[request.query.index ?? 0]
    if (digest === undefined)
      throw new FreshetError('blob-not-found', 'the item has no stored picture of this index yet')
    const etag = `"${digest}"`
    reply.header('cache-control', 'no-cache').header('etag', etag)
    if (request.headers['if-none-match'] === etag) return reply.code(304).send()
    return sendPicture(reply, await ports.blobs.image(digest as ImageDigest))
  })
}

/** In a scope of its own, where a body of any content type is a stream. */
export function uploadRoute(app: GatewayApp, { ports, options }: GatewayParts): void {
  app.put('/v1/blobs', { schema: uploadSchema }, async (request): Promise<StoredBlob> => {
    const { imageMaxBytes } = options
    if (Number(request.headers['content-length'] ?? 0) > imageMaxBytes) throw tooLarge(imageMaxBytes)
    const { digest, bytes } = await store(ports.blobs, request.body as Readable, imageMaxBytes)
    return { blob: `blob:${digest}`, bytes }
  })
}

function store(blobs: GatewayBlobs, body: Readable | undefined, maxBytes: number) {
  return blobs.put(picturesOnly(body ?? Readable.from([]), maxBytes))
}

/**
 * The body as it comes, once its first bytes are those of a picture.
 * @throws FreshetError `image-empty` | `image-format` | `image-too-large`
 */
async function* picturesOnly(body: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Uint8Array> {
  let head = Buffer.alloc(0)
  let total = 0
  for await (const chunk of body) {
    total += chunk.length
    if (total > maxBytes) throw tooLarge(maxBytes)
    if (head.length >= signatureBytes) {
      yield chunk
      continue
    }
    head = Buffer.concat([head, chunk])
    if (head.length >= signatureBytes) yield checkedHead(head)
  }
  if (head.length < signatureBytes) yield checkedHead(head)
}

function checkedHead(head: Buffer): Buffer {
  if (head.length === 0) throw new FreshetError('image-empty', 'the body has no bytes')
  if (pictureType(head) !== null) return head
  throw new FreshetError('image-format', 'the body is not a JPEG, PNG, WebP, AVIF, GIF or TIFF picture')
}

function tooLarge(maxBytes: number): FreshetError {
  return new FreshetError('image-too-large', `the picture has more than ${maxBytes} bytes`)
}

/** The type follows from the bytes; whatever they are, a browser must not run them. */
async function sendPicture(reply: FastifyReply, image: ImageBytes): Promise<FastifyReply> {
  reply.header('content-security-policy', "default-src 'none'; sandbox")
  if ('bytes' in image) return reply.type(typeOf(image.bytes)).send(Buffer.from(image.bytes))
  const file = await open(image.path)
  const head = Buffer.alloc(signatureBytes)
  try {
    await file.read(head, 0, signatureBytes, 0)
  } finally {
    await file.close()
  }
  return reply.type(typeOf(head)).send(createReadStream(image.path))
}

function typeOf(head: Uint8Array): string {
  return pictureType(head) ?? 'application/octet-stream'
}

const uploadSchema = describeRoute({
  tag: 'items',
  summary: 'Store a picture',
  description: 'The body is the file. The answer names it as `blob:<sha256>`, for items and for searches.',
  body: { content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } },
  response: { 200: StoredBlob },
})

const blobSchema = describeRoute({
  tag: 'items',
  summary: 'A stored picture',
  params: Type.Object({ digest: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, 64 hex digits' }) }),
  response: { 200: described('image/*', 'the picture as it was stored') },
})

const itemImageSchema = describeRoute({
  tag: 'items',
  summary: 'A picture of an item',
  params: itemParams,
  querystring: Type.Object(
    { index: Type.Optional(Type.Integer({ minimum: 0, description: "index into the item's images" })) },
    { additionalProperties: false },
  ),
  response: {
    200: described('image/*', 'the picture as it was stored'),
    304: { type: 'null', description: 'the picture is still the one in If-None-Match' },
  },
})

import { open } from 'node:fs/promises'
import { Type } from '@sinclair/typebox'
import type { FastifyReply } from 'fastify'
import { FreshetError } from '../schemas/errors.ts'
import { StoredBlob } from '../schemas/http-items.ts'
import { type ImageDigest, parseItemId } from '../schemas/ids.ts'
import { partitionOf } from '../schemas/partition.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { mainGeneration } from './generation-choice.ts'
import { described, describeRoute, itemParams } from './openapi.ts'
import { pictureType, signatureBytes } from './picture-signature.ts'
import { storedImage } from './query-image.ts'
import { askInTurn } from './replica-roster.ts'

/** Stored pictures, and those of items. */
export function pictureRoutes(app: GatewayApp, { ports, roster }: GatewayParts): void {
  app.get('/v1/blobs/:digest', { schema: blobSchema }, async (request, reply) => {
    const digest = request.params.digest as ImageDigest
    const { path } = storedImage(digest, ports.blobs)
    reply.header('cache-control', 'public, max-age=31536000, immutable')
    return sendPicture(reply, path)
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
    return sendPicture(reply, storedImage(digest as ImageDigest, ports.blobs).path)
  })
}

/** In a scope of its own, where the body, of any content type, is left to the handler. */
export function uploadRoute(app: GatewayApp, { ports, options }: GatewayParts): void {
  app.put('/v1/blobs', { schema: uploadSchema }, async (request): Promise<StoredBlob> => {
    const { imageMaxBytes } = options
    if (Number(request.headers['content-length'] ?? 0) > imageMaxBytes)
      throw new FreshetError('image-too-large', `the picture has more than ${imageMaxBytes} bytes`)
    const { digest, bytes } = await ports.blobs.put(picturesOnly(request.raw), imageMaxBytes)
    return { blob: `blob:${digest}`, bytes }
  })
}

/** The body as it comes, once its first bytes are those of a picture. @throws FreshetError `image-empty` | `image-format` */
async function* picturesOnly(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let head: Buffer | null = Buffer.alloc(0)
  for await (const chunk of body) {
    if (head === null) {
      yield chunk
      continue
    }
    head = Buffer.concat([head, chunk])
    if (head.length < signatureBytes) continue
    yield checkedHead(head)
    head = null
  }
  if (head !== null) yield checkedHead(head)
}

function checkedHead(head: Buffer): Buffer {
  if (head.length === 0) throw new FreshetError('image-empty', 'the body has no bytes')
  if (pictureType(head) !== null) return head
  throw new FreshetError('image-format', 'the body is not a JPEG, PNG, WebP, AVIF, GIF or TIFF picture')
}

/** The type follows from the bytes; whatever they are, a browser must not run them. */
async function sendPicture(reply: FastifyReply, path: string): Promise<FastifyReply> {
  const file = await open(path)
  const stream = file.createReadStream({ start: 0 })
  try {
    const { buffer: head } = await file.read(Buffer.alloc(signatureBytes), 0, signatureBytes, 0)
    reply.header('content-security-policy', "default-src 'none'; sandbox")
    return reply.type(pictureType(head) ?? 'application/octet-stream').send(stream)
  } catch (thrown) {
    stream.destroy()
    throw thrown
  }
}

const uploadSchema = describeRoute({
  tag: 'items',
  operationId: 'putBlob',
  summary: 'Store a picture',
  description: 'The body is the file. The answer names it as `blob:<sha256>`, for items and for searches.',
  body: { content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } },
  response: { 200: StoredBlob },
})

const blobSchema = describeRoute({
  tag: 'items',
  operationId: 'getBlob',
  summary: 'A stored picture',
  params: Type.Object({ digest: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, 64 hex digits' }) }),
  response: { 200: described('image/*', 'the picture as it was stored') },
})

const itemImageSchema = describeRoute({
  tag: 'items',
  operationId: 'getItemImage',
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

import { Readable } from 'node:stream'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../schemas/errors.ts'
import { Accepted, BulkAnswer, BulkLine, ItemBody, Receipt, WriteQuery } from '../schemas/http-items.ts'
import { parseItemId } from '../schemas/ids.ts'
import { traceOfRequest } from '../schemas/trace-requests.ts'
import { bulkAnswers } from './bulk-answers.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { deleteEvent, type ItemEvent, upsertEvent } from './item-event.ts'
import { clientSignal } from './load/client-signal.ts'
import { describeRoute, itemParams } from './openapi.ts'
import { decodeReceipt, encodeReceipt } from './receipt.ts'
import { isFinal } from './receipt-verdict.ts'

const defaultWaitMs = 10_000
const failedStatus = 422
/** What a batch of a bulk stream waits at most for queries that wait. */
const bulkCourtesyMs = 100

/** The write side for items: events in, receipts out. */
export function itemRoutes(app: GatewayApp, parts: GatewayParts): void {
  const publish = new ItemPublisher(parts)

  app.put('/v1/items/:id', { schema: putSchema }, async (request, reply) => {
    const itemId = parseItemId(request.params.id)
    const { itemId: bodyId = itemId } = request.body
    if (bodyId !== itemId)
      throw new FreshetError('bad-request', 'itemId: differs from the id in the path', { details: { field: 'itemId' } })
    return publish.answer(upsertEvent(itemId, request.body), request, reply)
  })

  app.delete('/v1/items/:id', { schema: deleteSchema }, async (request, reply) =>
    publish.answer(deleteEvent(parseItemId(request.params.id)), request, reply),
  )

  app.get('/v1/receipts/:receipt', { schema: receiptSchema }, async (request): Promise<Receipt> => {
    const event = decodeReceipt(request.params.receipt, parts.ports.topicEpoch)
    return parts.receipts.look(event)
  })
}

/** In a scope of its own, where the body, of any content type, is left to the handler. */
export function bulkRoute(app: GatewayApp, { intake, draining, admission }: GatewayParts): void {
  const calm = () => admission.calm(bulkCourtesyMs)
  app.post('/v1/items', { schema: bulkSchema }, async (request, reply) => {
    const { raw } = request
    const answers = bulkAnswers({ body: raw, intake, trace: traceOfRequest(request), draining, calm })
    // A sender that goes on after the answer has ended would hold up a server that drains.
    reply.raw.once('finish', () => draining.aborted && !raw.complete && raw.socket.destroySoon())
    return reply.type('application/x-ndjson; charset=utf-8').send(Readable.from(answers, { objectMode: false }))
  })
}

class ItemPublisher {
  readonly #parts: GatewayParts
  #waits = 0

  constructor(parts: GatewayParts) {
    this.#parts = parts
  }

  async answer(
    event: ItemEvent,
    request: FastifyRequest<{ Querystring: WriteQuery }>,
    reply: FastifyReply,
  ): Promise<unknown> {
    const { intake, receipts, options } = this.#parts
    const refusal = intake.refusal(event)
    if (refusal) throw refusal
    const [accepted] = await intake.append([event], traceOfRequest(request))
    const receipt = encodeReceipt(accepted!)
    reply.header('location', `/v1/receipts/${receipt}`)
    if (request.query.wait === undefined || this.#waits >= options.maxWaits) {
      const { itemId, partition, offset } = accepted!
      return reply.code(202).send({ receipt, itemId, partition, version: String(offset) } satisfies Accepted)
    }
    this.#waits++
    try {
      const signal = this.#waitSignal(request, reply)
      return sendSettled(reply, await receipts.settled(accepted!, signal))
    } finally {
      this.#waits--
    }
  }

  #waitSignal({ query }: { readonly query: WriteQuery }, reply: FastifyReply): AbortSignal {
    const timeout = AbortSignal.timeout(query.timeoutMs ?? defaultWaitMs)
    return AbortSignal.any([timeout, clientSignal(reply), this.#parts.draining])
  }
}

function sendSettled(reply: FastifyReply, receipt: Receipt): FastifyReply {
  if (receipt.failure) {
    const { code, message } = receipt.failure
    return reply.code(failedStatus).send(new FreshetError(code, message, { details: receipt }).toBody())
  }
  return reply.code(isFinal(receipt.status) ? 200 : 202).send(receipt)
}

const waitDescription =
  'With `wait=searchable` the answer comes when the event is searchable on all routable replicas of the generations ' +
  'with a share, or removed or superseded (200), when its image work failed (422), or after `timeoutMs` with how far ' +
  'it got (202).'

const waitResponses = { 200: Receipt, 202: Type.Union([Accepted, Receipt]) }

const putSchema = describeRoute({
  tag: 'items',
  operationId: 'putItem',
  summary: 'Publish the full state of an item',
  description: `Omitted fields take their defaults, not their old values. ${waitDescription}`,
  params: itemParams,
  querystring: WriteQuery,
  body: ItemBody,
  response: waitResponses,
})

const deleteSchema = describeRoute({
  tag: 'items',
  operationId: 'deleteItem',
  summary: 'Delete an item',
  description: `Accepted whether or not the item exists. ${waitDescription}`,
  params: itemParams,
  querystring: WriteQuery,
  response: waitResponses,
})

const bulkSchema = describeRoute({
  tag: 'items',
  operationId: 'publishItems',
  summary: 'Publish a stream of items and deletes',
  description:
    'One JSON value a line: an item, `{"upsert": item}`, `{"delete": {"itemId"}}` or `{"itemId", "deleted": true}`; a ' +
    'line of at most 1 MiB. The answer has a line per line, in order, while you send: read it as you go, or send no ' +
    'more than some ten thousand lines per request. A line that is refused does not harm its neighbours.',
  body: { content: { 'application/x-ndjson': { schema: BulkLine } } },
  response: { 200: { description: 'a line per line', content: { 'application/x-ndjson': { schema: BulkAnswer } } } },
})

const receiptSchema = describeRoute({
  tag: 'items',
  operationId: 'getReceipt',
  summary: 'What became of an accepted event',
  description: 'Computed now from the registers and watermarks of the replicas.',
  params: Type.Object({ receipt: Type.String() }),
  response: { 200: Receipt },
})

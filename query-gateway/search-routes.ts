import { Type } from '@sinclair/typebox'
import type { FastifyReply } from 'fastify'
import { FreshetError } from '../schemas/errors.ts'
import {
  DetectAnswer,
  DetectQuery,
  DetectRequest,
  ItemState,
  SearchAnswer,
  SearchQuery,
  SearchRequest,
  SimilarQuery,
} from '../schemas/http-search.ts'
import { parseItemId } from '../schemas/ids.ts'
import { partitionOf } from '../schemas/partition.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { mainGeneration } from './generation-choice.ts'
import { itemState } from './item-view.ts'
import { clientSignal } from './load/client-signal.ts'
import { describeRoute, itemParams, uploadForm } from './openapi.ts'
import type { LaneName } from './query-admission.ts'
import { readQueryUpload } from './query-upload.ts'
import { askInTurn } from './replica-roster.ts'
import { type ShapeCheck, shapeCheck } from './shape-check.ts'
import { type DetectSubject, parseSearch, type QuerySubject, type VisualQuery } from './visual-query.ts'

const checkSearch: ShapeCheck<typeof SearchRequest> = shapeCheck(SearchRequest)
const checkDetect: ShapeCheck<typeof DetectRequest> = shapeCheck(DetectRequest)
const checkSearchQuery = shapeCheck(SearchQuery)
const checkDetectQuery = shapeCheck(DetectQuery)

/** The read side: searches, detection, items. */
export function searchRoutes(app: GatewayApp, parts: GatewayParts): void {
  const { search, admission, meter, ports, roster, options } = parts

  const answer = async (query: VisualQuery, reply: FastifyReply): Promise<SearchAnswer> => {
    const { deadlineMs } = query.wish
    const wish = { lane: laneOf(query.subject), deadlineMs, signal: clientSignal(reply) }
    const found = await admission.run(turn => search.search(query, turn), wish)
    meter.searched(found)
    return found
  }

  const look = (subject: DetectSubject, wish: DetectQuery, reply: FastifyReply): Promise<DetectAnswer> => {
    const lane = 'url' in subject ? 'fetches' : 'pictures'
    const place = { lane, deadlineMs: wish.deadlineMs, signal: clientSignal(reply) } as const
    return admission.run(turn => search.detect(subject, wish, turn), place)
  }

  app.post('/v1/search', { schema: searchSchema }, async (request, reply): Promise<SearchAnswer> => {
    if (request.isMultipart()) {
      const { upload, query } = await readQueryUpload(request, checkSearchQuery)
      return answer(parseSearch({ ...query, upload }, options.maxK), reply)
    }
    const { body } = request
    checkSearch(body)
    return answer(parseSearch(body, options.maxK), reply)
  })

  app.post('/v1/detect', { schema: detectSchema }, async (request, reply): Promise<DetectAnswer> => {
    if (request.isMultipart()) {
      const { upload, query } = await readQueryUpload(request, checkDetectQuery)
      return look(upload, query, reply)
    }
    const { body } = request
    checkDetect(body)
    return look(body.image, body, reply)
  })

  app.get('/v1/items/:id', { schema: itemSchema }, async (request): Promise<ItemState> => {
    const itemId = parseItemId(request.params.id)
    const { generation } = mainGeneration(ports.routing(), request.query.generation)
    const owner = roster.owner(generation, partitionOf(itemId, ports.partitions))
    const state = itemState(await askInTurn(owner, replica => replica.registers(itemId)), generation)
    if (!state) throw new FreshetError('item-not-found', 'the item is deleted or unknown')
    return state
  })

  app.get('/v1/items/:id/similar', { schema: similarSchema }, async (request, reply): Promise<SearchAnswer> => {
    const itemId = parseItemId(request.params.id)
    const { object, ...wish } = request.query
    const image = { itemId, ...(object === undefined ? {} : { object }) }
    const like = parseSearch({ image, excludeItemId: itemId, ...wish }, options.maxK)
    return answer(like, reply)
  })
}

function laneOf(subject: QuerySubject): LaneName {
  if (subject.kind !== 'picture') return 'lookups'
  return 'url' in subject.picture ? 'fetches' : 'pictures'
}

const searchSchema = describeRoute({
  tag: 'search',
  operationId: 'search',
  summary: 'Search by picture, part of a picture, item or vector',
  description:
    'Send JSON, or a form with the file in `image` and the other fields as JSON in `query`. Without `box` or `object` ' +
    'the most salient thing in the picture is searched. `coverage` and `degraded` say when the answer is not whole.',
  body: {
    content: {
      'application/json': { schema: SearchRequest },
      'multipart/form-data': { schema: uploadForm(SearchQuery) },
    },
  },
  response: { 200: SearchAnswer },
})

const detectSchema = describeRoute({
  tag: 'search',
  operationId: 'detect',
  summary: 'Find the objects in a picture',
  description:
    'The picture is stored. Search next with `{"image": {"blob"}, "box"}`, or with `object` and the `generation` of ' +
    'this answer.',
  body: {
    content: {
      'application/json': { schema: DetectRequest },
      'multipart/form-data': { schema: uploadForm(DetectQuery) },
    },
  },
  response: { 200: DetectAnswer },
})

const itemSchema = describeRoute({
  tag: 'search',
  operationId: 'getItem',
  summary: 'An item as the index has it',
  params: itemParams,
  querystring: Type.Object({ generation: Type.Optional(Type.String()) }, { additionalProperties: false }),
  response: { 200: ItemState },
})

const similarSchema = describeRoute({
  tag: 'search',
  operationId: 'similarItems',
  summary: 'Items like this one, without it',
  params: itemParams,
  querystring: SimilarQuery,
  response: { 200: SearchAnswer },
})

import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition, parseItemId } from '../../schemas/ids.ts'
import {
  changedWire,
  digestBucketsWire,
  doneWire,
  registersWire,
  replicaTag,
  searchBatchWire,
  searchRequestWire,
  searchResultsWire,
  searchResultWire,
  shardPrefix,
  snapshotOrderWire,
  statusWire,
  vectorWire,
  wireHeaders,
} from '../../schemas/shard-wire.ts'
import type { ServedReplica, ShardServerParts } from './shard-server.ts'

/** One request to one replica. */
interface Call {
  readonly replica: ServedReplica
  readonly body: string
  readonly query: Readonly<Record<string, string | undefined>>
  /** Aborts when the time of the request is over or the caller has gone. */
  readonly signal: AbortSignal
}

/** What gateways ask of replicas. */
export function replicaRoutes(scope: FastifyInstance, parts: ShardServerParts): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => done(null, body))

  const route = (method: 'GET' | 'POST', what: string, answer: (call: Call) => Promise<string | Readable>): void => {
    scope.route({
      method,
      url: `${shardPrefix}/:replica/${what}`,
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        const replica = servedReplica(parts, (request.params as { readonly replica: string }).replica)
        reply.header(wireHeaders.replica, replicaTag(replica)).type('application/json')
        const call = request.headers[wireHeaders.call]
        if (call !== undefined) reply.header(wireHeaders.call, call)
        return whileAsked({ request, reply, maxMs: parts.limits.timeoutMs }, signal =>
          answer({ replica, body: request.body as string, query: request.query as Call['query'], signal }),
        )
      },
    })
  }

  route('POST', 'search', async ({ replica, body, signal }) =>
    searchResultWire.encode(await tellingState(replica, replica.search(ownRequest(replica, body), signal))),
  )
  route('POST', 'search-batch', async ({ replica, body, signal }) =>
    searchResultsWire.encode(
      await tellingState(replica, replica.searchBatch(searchBatchWire.decode(body), signal)),
    ),
  )
  route('GET', 'registers', async ({ replica, query }) =>
    registersWire.encode(await replica.registers(parseItemId(query.itemId))),
  )
  route('GET', 'vector', async ({ replica, query }) =>
    vectorWire.encode(
      await tellingState(replica, replica.objectVector(parseItemId(query.itemId), index(query.object, 'object'))),
    ),
  )
  route('GET', 'status', async ({ replica }) => statusWire.encode(await replica.status()))
  route('GET', 'digest', async ({ replica, query }) =>
    digestBucketsWire.encode({ buckets: replica.digestBuckets(asPartition(index(query.partition, 'partition'))) }),
  )
}

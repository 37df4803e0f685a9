import { resolve, sep } from 'node:path'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, parseItemId } from '../../schemas/ids.ts'
import {
  changedWire,
  cutBucketOrderWire,
  cutEndOrderWire,
  cutItemsOrderWire,
  cutItemsWire,
  cutOrderWire,
  cutWire,
  doneWire,
  registersWire,
  replicaTag,
  searchBatchWire,
  searchResultsWire,
  shardPrefix,
  snapshotOrderWire,
  statusWire,
  vectorWire,
  wireHeaders,
} from '../../schemas/shard-wire.ts'
import { whileAsked } from './call-signal.ts'
import { ownRequest, searchText, servedReplica, tellingState } from './served-replica.ts'
import type { ServedReplica, ShardServerParts } from './shard-server.ts'

/** One request to one replica. */
interface Call {
  readonly replica: ServedReplica
  /** Empty where the route takes none. */
  readonly body: string
  readonly query: Readonly<Record<string, string | undefined>>
  /** Aborts when the time of the request is over or the caller has gone. */
  readonly signal: AbortSignal
  readonly reply: FastifyReply
}

/** Null when it has sent the answer itself. */
type Answer = (call: Call) => Promise<string | null>

/** What gateways ask of replicas. */
export function replicaRoutes(scope: FastifyInstance, parts: ShardServerParts): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  for (const [route, answer] of Object.entries(answersOf(parts))) {
    const [method, what] = route.split(' ') as ['GET' | 'POST', string]
    scope.route({
      method,
      url: `${shardPrefix}/:replica/${what}`,
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        const replica = servedReplica(parts, (request.params as { readonly replica: string }).replica)
        reply.headers({ [wireHeaders.replica]: replicaTag(replica), 'content-type': 'application/json' })
        const body = (request.body ?? '') as string
        const query = request.query as Call['query']
        const text = await whileAsked({ request, reply, maxMs: parts.limits.timeoutMs }, signal =>
          answer({ replica, body, query, signal, reply }),
        )
        return text ?? reply
      },
    })
  }
}

function answersOf({ draining, snapshotRoots = [] }: ShardServerParts): Readonly<Record<string, Answer>> {
  return {
    // Gateways ask for searches in frames, see `schemas/shard-frames.ts`; this is for everyone else.
    'POST search': ({ replica, body, signal }) => searchText(replica, body, signal),
    'POST search-batch': async ({ replica, body, signal }) => {
      const requests = searchBatchWire.decode(body).map(request => ownRequest(replica, request))
      return searchResultsWire.encode(await tellingState(replica, replica.searchBatch(requests, signal)))
    },
    'GET registers': async ({ replica, query }) =>
      registersWire.encode(await replica.registers(parseItemId(query.itemId))),
    'GET vector': async ({ replica, query }) => {
      const vector = replica.objectVector(parseItemId(query.itemId), parseIndex(query.object))
      return vectorWire.encode(await tellingState(replica, vector))
    },
    'GET status': async ({ replica }) => statusWire.encode(await replica.status()),
    'GET changed': call => sendWhenChanged(call, draining),
    'POST cut': async ({ replica, body }) => {
      const { partition, offset } = cutOrderWire.decode(body)
      return cutWire.encode(await tellingState(replica, replica.beginCut(asPartition(partition), asOffset(offset))))
    },
    'POST cut-items': async ({ replica, body }) => {
      const { cut, itemIds } = cutItemsOrderWire.decode(body)
      return cutItemsWire.encode({ items: await replica.cutItems(cut, itemIds) })
    },
    'POST cut-bucket': async ({ replica, body }) => {
      const { cut, bucket } = cutBucketOrderWire.decode(body)
      return cutItemsWire.encode({ items: await replica.cutBucket(cut, bucket) })
    },
    'POST cut-end': async ({ replica, body }) => {
      await replica.endCut(cutEndOrderWire.decode(body).cut)
      return doneWire.encode({ ok: true })
    },
    'POST checkpoint': async ({ replica }) => {
      await tellingState(replica, replica.checkpoint())
      return doneWire.encode({ ok: true })
    },
    'POST snapshot': async ({ replica, body }) => {
      const { directory } = snapshotOrderWire.decode(body)
      requireWithin(snapshotRoots, directory)
      await tellingState(replica, replica.exportTo(directory))
      return doneWire.encode({ ok: true })
    },
  }
}

/**
 * The headers, and a space of JSON, are sent once the replica is listened to: whoever reads the item's registers
 * after that misses no change.
 */
async function sendWhenChanged({ replica, query, signal, reply }: Call, draining: AbortSignal): Promise<null> {
  const ends = AbortSignal.any([signal, draining])
  const change = replica.changed(parseItemId(query.itemId), ends)
  reply.hijack()
  reply.raw.writeHead(200, reply.getHeaders() as Record<string, string>)
  reply.raw.write(' ')
  const changed = await change.then(
    () => true,
    () => false,
  )
  reply.raw.end(changedWire.encode({ changed }))
  return null
}

/** Callers are other machines: they do not choose any place on this one. */
function requireWithin(roots: readonly string[], directory: string): void {
  const target = resolve(directory)
  if (roots.some(root => target.startsWith(resolve(root) + sep))) return
  throw new FreshetError('bad-request', `${directory} is not in a directory for snapshots of this shard`)
}

function parseIndex(text: string | undefined): number {
  if (text !== undefined && /^[0-9]{1,9}$/.test(text)) return Number(text)
  throw new FreshetError('bad-request', 'the query string lacks a whole number')
}

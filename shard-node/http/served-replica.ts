import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import type { ShardSearchRequest } from '../../schemas/shard-api.ts'
import { searchRequestWire } from '../../schemas/shard-wire.ts'
import { searchResultWire } from '../../schemas/shard-wire-hits.ts'
import type { ServedReplica, ShardServerParts } from './shard-server.ts'

/** One search, from text to text. @throws FreshetError `bad-request`, `not-ready` with the state; what the replica throws */
export async function searchText(replica: ServedReplica, body: string, signal: AbortSignal): Promise<string> {
  const request = ownRequest(replica, searchRequestWire.decode(body))
  return searchResultWire.encode(await tellingState(replica, replica.search(request, signal)))
}

export function servedReplica({ replicas }: ShardServerParts, name: string): ServedReplica {
  const found = replicas().find(({ replica }) => replica === name)
  if (found === undefined) throw new FreshetError('replica-unavailable', `there is no replica ${name} here`)
  return found
}

export function ownRequest(replica: ServedReplica, request: ShardSearchRequest): ShardSearchRequest {
  if (request.generation === replica.generation) return request
  throw new FreshetError('bad-request', `${replica.replica} holds ${replica.generation}, not ${request.generation}`)
}

/** A replica that does not answer yet tells how far it is. */
export async function tellingState<T>(replica: ServedReplica, answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (thrown) {
    const error = asFreshetError(thrown)
    if (error.code !== 'not-ready') throw error
    throw new FreshetError('not-ready', error.message, { cause: error, details: { state: replica.state } })
  }
}

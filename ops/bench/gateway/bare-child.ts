import fastify from 'fastify'
import { Pool } from 'undici'
import { replicaPath } from '../../../schemas/shard-wire.ts'
import { serveCalls } from '../shard/child-calls.ts'
import type { ReplicaAddress } from './gateway-child.ts'
import { shardCount } from './gateway-scene.ts'

export interface BareOptions {
  readonly addresses: readonly ReplicaAddress[]
  /** What the gateway answers to each query. */
  readonly answers: readonly string[]
  /** What the gateway asks each shard for each query. */
  readonly requests: readonly string[]
}

/**
 * The same bytes with the libraries alone: fastify takes the body and parses it, undici sends to one replica of each
 * shard what the gateway would send, and reads the answers, and what the gateway would answer is sent. Nothing is
 * encoded, checked, merged or decided.
 */
class BareProcess {
  async open({ addresses, answers, requests }: BareOptions): Promise<string> {
    const pools = addresses.map(({ address }) => new Pool(address, { connections: 64 }))
    const replicas = Array.from({ length: shardCount }, (_, shard) =>
      addresses.flatMap((each, at) =>
        each.shard === shard ? [{ pool: pools[at]!, path: `${replicaPath(each.replica)}/search` }] : [],
      ),
    )
    const bodies = answers.map(text => Buffer.from(text))
    const headers = { 'content-type': 'application/json' }
    const app = fastify()
    let turn = 0
    app.post('/v1/search', async (request, reply) => {
      const query = Number(request.headers['x-query'])
      turn++
      await Promise.all(
        replicas.map(async siblings => {
          const { pool, path } = siblings[turn % siblings.length]!
          const { body } = await pool.request({ method: 'POST', path, headers, body: requests[query]! })
          await body.arrayBuffer()
        }),
      )
      reply.type('application/json')
      return bodies[query]
    })
    return app.listen({ host: '127.0.0.1', port: 0 })
  }

  cpuMs(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  }
}

export type { BareProcess }

serveCalls(new BareProcess())

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RemoteReplica } from '../query-gateway/remote/remote-replica.ts'
import type { RemoteReplicaSettings } from '../query-gateway/remote/shard-connection.ts'
import { asOffset, asPartition, type Fingerprint, parseItemId } from '../schemas/ids.ts'
import { type ReachedReplica, shardReplicaContract } from '../shard-node/contracts/shard-replica-contract.ts'
import { createShardServer, type ShardServerOptions } from '../shard-node/http/shard-server.ts'
import type { ShardNode } from '../shard-node/shard-node.ts'
import { attributesPut, generation, objectsPut, ShardOnLog } from '../shard-node/testing/shard-on-log.ts'

const secret = 'between gateways and shards'

async function overHttp(
  node: ShardNode,
  server: Partial<ShardServerOptions> = {},
  settings: Partial<RemoteReplicaSettings> = {},
): Promise<ReachedReplica & { readonly replica: RemoteReplica }> {
  const app = createShardServer({ replicas: () => [node], failure: () => null, secret, ...server })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const { shard, replica: id, generation: of, partitions, state } = node
  const identity = { address, shard, replica: id, generation: of, partitions, reported: { state, indexAgeMs: 0 } }
  const replica = new RemoteReplica(identity, { secret, ...settings })
  return {
    replica,
    close: async () => {
      await replica.close()
      await app.close()
    },
  }
}

shardReplicaContract('over HTTP', overHttp)

describe('beyond the contract', () => {
  const dims = 8
  const query = Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0)
  const request = { generation, fingerprint: 'f'.repeat(64) as Fingerprint, vector: query, k: 3 }
  let shard: ShardOnLog
  let directory: string

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'freshet-shard-http-'))
    shard = await ShardOnLog.create(dims)
    await shard.open()
    await shard.apply(attributesPut('lamp', 1), objectsPut('lamp', 1, [query]))
  })
  afterAll(async () => {
    await shard.dispose()
    await rm(directory, { recursive: true })
  })

  test('a batch is answered as the node answers it', async () => {
    const { replica, close } = await overHttp(shard.node)
    const batch = [request, { ...request, exact: true }, { ...request, filter: { category: ['none'] } }]
    expect(await replica.searchBatch(batch)).toEqual(await shard.node.searchBatch(batch))
    await close()
  })

  test('a wrong secret is told as such', async () => {
    const { replica, close } = await overHttp(shard.node, {}, { secret: 'guessed' })
    await expect(replica.search(request)).rejects.toMatchObject({ code: 'access-denied', retryable: false })
    await expect(replica.status()).rejects.toMatchObject({ code: 'access-denied' })
    await close()
  })

  test('a cut tells the same over HTTP, until it is ended', async () => {
    const { replica, close } = await overHttp(shard.node)
    for (const partition of shard.node.partitions) {
      const { cut, ...taken } = await replica.beginCut(partition, asOffset(-1))
      const { cut: local, ...takenHere } = await shard.node.beginCut(partition, asOffset(-1))
      expect(taken).toEqual(takenHere)
      const ids = [...taken.listed.map(({ itemId }) => itemId), parseItemId('unheard of')]
      expect(await replica.cutItems(cut, ids)).toEqual(await shard.node.cutItems(local, ids))
      for (const bucket of [0, 511, 1023])
        expect(await replica.cutBucket(cut, bucket)).toEqual(await shard.node.cutBucket(local, bucket))
      await replica.endCut(cut)
      await expect(replica.cutItems(cut, ids)).rejects.toMatchObject({ code: 'cut-ended' })
    }
    await close()
  })

  test('a cut of a partition of others, and one above the watermark, are refused', async () => {
    const { replica, close } = await overHttp(shard.node)
    await expect(replica.beginCut(asPartition(99), asOffset(-1))).rejects.toMatchObject({ code: 'bad-request' })
    const [partition] = shard.node.partitions
    await expect(replica.beginCut(partition!, asOffset(1_000))).rejects.toMatchObject({ code: 'not-ready' })
    await close()
  })

  test('a checkpoint is written when asked for; a sibling starts on the snapshot', async () => {
    const { replica, close } = await overHttp(shard.node, { snapshotRoots: [directory] })
    await replica.checkpoint()
    expect((await replica.status()).checkpoint.writtenAtMs).not.toBeNull()
    const seedDirectory = join(directory, 'snapshot')
    await replica.exportTo(seedDirectory)
    for (const outside of [directory, join(directory, '..', 'elsewhere'), `${directory}-too/snapshot`, 'snapshot'])
      await expect(replica.exportTo(outside)).rejects.toMatchObject({ code: 'bad-request' })
    const sibling = await shard.open({ directory: join(directory, 'sibling'), seedDirectory })
    expect((await shard.search(query, { node: sibling })).hits.map(({ itemId }) => itemId)).toEqual(['lamp'])
    await sibling.close()
    await close()
  })

  test('over TLS, to a server that its certificate names only', async () => {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
    const subject = ['-subj', '/CN=shard', '-addext', 'subjectAltName=DNS:shard.test', '-days', '2']
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    await promisify(execFile)('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', cert])
    const [ca, tls] = [await readFile(cert, 'utf8'), { key: await readFile(key), cert: await readFile(cert) }]
    const trusting = await overHttp(shard.node, { tls }, { tls: { ca, servername: 'shard.test' } })
    expect((await trusting.replica.search(request)).hits).toHaveLength(1)
    await trusting.close()
    const asking = { ...tls, ca, requestCert: true, rejectUnauthorized: true }
    const shown = { ca, cert: ca, key: await readFile(key, 'utf8'), servername: 'shard.test' }
    const known = await overHttp(shard.node, { tls: asking }, { tls: shown })
    expect((await known.replica.search(request)).hits).toHaveLength(1)
    await known.close()
    const unknown = await overHttp(shard.node, { tls: asking }, { tls: { ca, servername: 'shard.test' } })
    await expect(unknown.replica.search(request)).rejects.toMatchObject({ details: { why: 'unreachable' } })
    await unknown.close()
    for (const settings of [{}, { tls: { ca, servername: 'other.test' } }]) {
      const strange = await overHttp(shard.node, { tls }, settings)
      await expect(strange.replica.search(request)).rejects.toMatchObject({
        code: 'replica-unavailable',
        details: { why: 'unreachable' },
      })
      await strange.close()
    }
  })
})

import type { Engaged } from '../schemas/engagement.ts'
import { EngagementAccepted, EngagementBatch } from '../schemas/http-items.ts'
import { asPartition, parseItemId } from '../schemas/ids.ts'
import { murmur2 } from '../schemas/partition.ts'
import { engagementTopic } from '../schemas/topics.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { describeRoute } from './openapi.ts'

/** What users did with results, keyed by query. */
export function engagementRoutes(app: GatewayApp, { ports }: GatewayParts): void {
  app.post('/v1/engagements', { schema: engagementSchema }, async (request, reply) => {
    const atMs = ports.clock()
    const records = request.body.engagements.map(engagement => {
      const record: Engaged = { type: 'Engaged', ...engagement, itemId: parseItemId(engagement.itemId), atMs }
      const key = Buffer.from(record.queryId)
      const partition = asPartition((murmur2(key) & 0x7fffffff) % ports.partitions)
      return { partition, key, value: ports.engagementCodec.encode(record) }
    })
    await ports.log.append(engagementTopic, records)
    return reply.code(202).send({ accepted: records.length } satisfies EngagementAccepted)
  })
}

const engagementSchema = describeRoute({
  tag: 'search',
  operationId: 'reportEngagements',
  summary: 'Report what users did with results',
  body: EngagementBatch,
  response: { 202: EngagementAccepted },
})

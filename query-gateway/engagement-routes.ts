import { EngagementAccepted, EngagementBatch } from '../schemas/http-items.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { describeRoute } from './openapi.ts'

/** What users did with results. */
export function engagementRoutes(app: GatewayApp, { engagement, quality }: GatewayParts): void {
  app.post('/v1/engagements', { schema: engagementSchema }, async (request, reply) => {
    const { engagements } = request.body
    await engagement.report(engagements)
    quality.engaged(engagements)
    return reply.code(202).send({ accepted: engagements.length } satisfies EngagementAccepted)
  })
}

const engagementSchema = describeRoute({
  tag: 'search',
  operationId: 'reportEngagements',
  summary: 'Report what users did with results',
  description:
    'Of queries that named a `session`: only of these the gateway records what was shown, and only what was shown ' +
    'counts. The same report twice counts once, and so does what a session does with an item over and over.',
  body: EngagementBatch,
  response: { 202: EngagementAccepted },
})

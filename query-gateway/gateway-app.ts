import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Static, TSchema } from '@sinclair/typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyTypeProvider, RawServerDefault } from 'fastify'
import type { CatalogIntake } from './catalog-intake.ts'
import type { EngagementIntake } from './engagement-intake.ts'
import type { GatewayOptions } from './gateway-options.ts'
import type { QualityBook } from './generation-quality.ts'
import type { GatewayPorts } from './ports.ts'
import type { QueryAdmission } from './query-admission.ts'
import type { QueryRouter } from './query-router.ts'
import type { ReceiptWatch } from './receipt-watch.ts'
import type { ReplicaRoster } from './replica-roster.ts'
import type { RequestMeter } from './request-meter.ts'
import type { VisualSearch } from './visual-search.ts'

/** Derives the types of a handler's request from its TypeBox shapes; answers are typed where they are made. */
interface ShapeTypes extends FastifyTypeProvider {
  readonly validator: this['schema'] extends TSchema ? Static<this['schema']> : unknown
  readonly serializer: unknown
}

export type GatewayApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ShapeTypes
>

/** What routes work with. */
export interface GatewayParts {
  readonly ports: GatewayPorts
  readonly options: GatewayOptions
  readonly roster: ReplicaRoster
  readonly router: QueryRouter
  readonly quality: QualityBook
  readonly search: VisualSearch
  readonly engagement: EngagementIntake
  readonly admission: QueryAdmission
  readonly intake: CatalogIntake
  readonly receipts: ReceiptWatch
  readonly meter: RequestMeter
  /** Aborts when the server drains: whatever waits answers with what there is. */
  readonly draining: AbortSignal
}

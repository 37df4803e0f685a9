import { randomBytes } from 'node:crypto'
import { createNoopMeter, type Meter } from '@opentelemetry/api'
import type { FastifyBaseLogger } from 'fastify'
import { type AccessOptions, openAccess } from './access/access-options.ts'
import { defaultFanoutOptions, type FanoutOptions } from './fanout/fanout-options.ts'
import { type SlowClientRules, usualRules } from './load/slow-clients.ts'
import { defaultStageBudget, type StageBudget } from './stage-times.ts'

/** Bounds of the gateway; `ops` passes those that are configuration, the rest have defaults. */
export interface GatewayOptions {
  /** Directory of the web page, served at `/`. */
  readonly pageDirectory: string
  readonly imageMaxBytes: number
  readonly bodyMaxBytes: number
  readonly maxK: number
  /** Longest time of one search; also the default of `deadlineMs`. */
  readonly deadlineMs: number
  /** How shards are asked. */
  readonly fanout: FanoutOptions
  /** Most bytes kept of what was seen in query pictures, and of what shards answered; 0 keeps nothing. */
  readonly cache: { readonly pictureBytes: number; readonly candidateBytes: number }
  /** Longest time a ranking waits for the feature store. */
  readonly featuresTimeoutMs: number
  /** What sessions are hashed with before anything of them leaves the gateway; gateways that share it know a session as one. */
  readonly sessionSalt: string
  /** What the stages of a search may take: told with what they took. */
  readonly stageBudgetMs: StageBudget
  /** Queries at once that run no model, and as many that first load a picture by its URL; the next ones wait. */
  readonly maxConcurrentQueries: number
  /** Queries at once that run the model on a picture; enough that its processes never wait for one. */
  readonly maxConcurrentPictures: number
  /** Waiting queries of each kind; beyond that 503 at once. */
  readonly maxQueuedQueries: number
  /** Longest time that a query waits for its turn; one that did, or would, is answered 503 and not run. */
  readonly maxQueueMs: number
  /** Bytes of request bodies in memory at once; beyond that 503 before a body is read. */
  readonly maxHeldBodyBytes: number
  /** Beyond it connections are refused. */
  readonly maxConnections: number
  /** When a connection whose other end is slow is cut. */
  readonly slowClients: SlowClientRules
  /** Requests waiting for `wait=searchable`; beyond that they are answered 202 without waiting. */
  readonly maxWaits: number
  readonly maxEventStreams: number
  /** On close: time for requests in progress, such as a slow upload; then their connections are cut. */
  readonly drainMs: number
  /**
   * Host names by which the server may be addressed, against DNS rebinding; null to allow any (behind a proxy).
   * Ports are not compared.
   */
  readonly allowedHosts: readonly string[] | null
  /** Who may call what, how often, and from pages of which sites. */
  readonly access: AccessOptions
  /** None: nothing is logged. */
  readonly logger: FastifyBaseLogger | null
  /** Where what the gateway measures of itself goes; by default nowhere. */
  readonly meter: Meter
  /** What `/metrics` answers: the text of whatever collects from `meter`. */
  readonly metricsText: () => Promise<string>
}

export const defaultGatewayOptions = {
  imageMaxBytes: 20 * 2 ** 20,
  bodyMaxBytes: 32 * 2 ** 20,
  maxK: 200,
  deadlineMs: 10_000,
  fanout: defaultFanoutOptions,
  cache: { pictureBytes: 64 * 2 ** 20, candidateBytes: 64 * 2 ** 20 },
  featuresTimeoutMs: 15,
  // Of this process: what it hashed nobody knows again after it.
  sessionSalt: randomBytes(16).toString('hex'),
  stageBudgetMs: defaultStageBudget,
  maxConcurrentQueries: 32,
  maxConcurrentPictures: 12,
  maxQueuedQueries: 256,
  maxQueueMs: 500,
  maxHeldBodyBytes: 256 * 2 ** 20,
  maxConnections: 4_096,
  slowClients: usualRules,
  maxWaits: 2_000,
  maxEventStreams: 64,
  drainMs: 3_000,
  allowedHosts: ['localhost', '127.0.0.1', '[::1]'],
  access: openAccess,
  logger: null,
  meter: createNoopMeter(),
  metricsText: async () => '',
} as const satisfies Omit<GatewayOptions, 'pageDirectory'>

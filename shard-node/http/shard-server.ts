import type { ServerOptions as TlsServerOptions } from 'node:https'
import { createNoopMeter, type Meter } from '@opentelemetry/api'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import type { FreshetError } from '../../schemas/errors.ts'
import type {
  CutReplica,
  ReplicaState,
  ShardReplica,
  ShardSearchRequest,
  ShardSearchResult,
} from '../../schemas/shard-api.ts'
import { wireHeaders } from '../../schemas/shard-wire.ts'
import { traceRequests } from '../../schemas/trace-requests.ts'
import { requireSecret } from './access.ts'
import { answerErrors } from './error-answers.ts'
import { healthRoutes } from './health-routes.ts'
import { replicaRoutes } from './replica-routes.ts'
import { asksForWebSocket, serveSearchFrames } from './search-frames.ts'

/** What the server needs of a replica; `ShardNode` fits. */
export interface ServedReplica extends ShardReplica, CutReplica {
  readonly state: ReplicaState
  searchBatch(requests: readonly ShardSearchRequest[], signal?: AbortSignal): Promise<readonly ShardSearchResult[]>
  checkpoint(): Promise<void>
  exportTo(directory: string): Promise<void>
}

export interface ShardServerOptions {
  /** The replicas of this process; asked anew per request. */
  readonly replicas: () => readonly ServedReplica[]
  /** Why a replica of this process cannot go on; null while all can. */
  readonly failure: () => FreshetError | null
  /** What gateways must show as bearer token; null: everyone who reaches the address may ask. */
  readonly secret: string | null
  /** Certificate and key; plain HTTP without. */
  readonly tls?: TlsServerOptions
  /** Where snapshots may be written on this machine; nowhere when left out. */
  readonly snapshotRoots?: readonly string[]
  /** Prometheus text; without it there is no `/metrics`. */
  readonly metrics?: () => Promise<string>
  /** Where durations of requests go; by default nowhere. */
  readonly meter?: Meter
  readonly logger?: FastifyBaseLogger
  readonly limits?: Partial<ShardServerLimits>
}

export interface ShardServerLimits {
  readonly bodyMaxBytes: number
  /** The longest that a request may take, and how long one takes that does not say. */
  readonly timeoutMs: number
  /** After which connections are cut when the server closes. */
  readonly drainMs: number
  /** Searches in hand on the connection of one gateway; those beyond are refused. */
  readonly searchesPerGateway: number
  /** Answers that a gateway does not read; with more its connection is cut. */
  readonly unreadMaxBytes: number
}

export const defaultShardServerLimits: ShardServerLimits = {
  bodyMaxBytes: 8 * 2 ** 20,
  timeoutMs: 30_000,
  drainMs: 5_000,
  searchesPerGateway: 1_024,
  unreadMaxBytes: 64 * 2 ** 20,
}

/** Longer than gateways keep an idle connection: a call never finds it just being closed. */
const keepAliveMs = 75_000

/** What routes work with. */
export interface ShardServerParts extends Omit<ShardServerOptions, 'limits'> {
  readonly limits: ShardServerLimits
  /** Aborts when the server drains: whoever waits for a change is answered at once. */
  readonly draining: AbortSignal
}

/**
 * Serves the replicas of a shard role to gateways, see `schemas/shard-wire.ts` and `schemas/shard-frames.ts`, and tells
 * probes how it is. Not listening yet; the caller listens, and closes, which drains: requests in hand are finished, no
 * other is taken.
 */
export function createShardServer(options: ShardServerOptions): FastifyInstance {
  const limits = { ...defaultShardServerLimits, ...options.limits }
  const upgrades = { shouldUpgradeCallback: asksForWebSocket }
  const app: FastifyInstance = fastify({
    ...(options.logger === undefined ? {} : { loggerInstance: options.logger }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.bodyMaxBytes,
    requestTimeout: limits.timeoutMs,
    keepAliveTimeout: keepAliveMs,
    return503OnClosing: false,
    ...(options.tls === undefined ? { http: upgrades } : { https: { ...options.tls, ...upgrades } }),
  })
  traceRequests(app, options.meter ?? createNoopMeter())
  const draining = new AbortController()
  app.addHook('preClose', async () => {
    draining.abort()
    setTimeout(() => app.server.closeAllConnections(), limits.drainMs).unref()
  })
  app.addHook('onRequest', (request, reply, done) => {
    const call = request.headers[wireHeaders.call]
    if (call !== undefined) reply.header(wireHeaders.call, call)
    done()
  })
  const parts: ShardServerParts = { ...options, limits, draining: draining.signal }
  answerErrors(app)
  healthRoutes(app, parts)
  app.register(async scope => {
    requireSecret(scope, options.secret)
    replicaRoutes(scope, parts)
  })
  serveSearchFrames(app, parts)
  return app
}

import { fileURLToPath } from 'node:url'
import type { GatewayOptions } from '../query-gateway/gateway-options.ts'
import type { RoutedGeneration } from '../query-gateway/ports.ts'
import type { ControlState, GenerationStatus } from '../topologies/control/control-state.ts'
import type { Config } from './config.ts'

/** The web page. */
export const pageDirectory = fileURLToPath(new URL('../query-gateway/page', import.meta.url))

/** Those that are not retired, as the gateway sees them. */
export function routedGenerations({ generations }: ControlState): readonly RoutedGeneration[] {
  return [...generations.values()].filter(({ state }) => state !== 'retired').map(routedGeneration)
}

function routedGeneration({ started, state, share }: GenerationStatus): RoutedGeneration {
  const { generation, model, fingerprint, dims, shards, weights } = started
  return { generation, model, fingerprint, dims, shards, state, share, ...(weights === '' ? {} : { weights }) }
}

/** The bounds of the gateway that are configuration. */
export function gatewayLimits({ limits }: Config): Partial<GatewayOptions> {
  return {
    imageMaxBytes: limits.imageBytes,
    bodyMaxBytes: limits.bodyBytes,
    maxK: limits.maxK,
    deadlineMs: limits.deadlineMs,
    maxConcurrentQueries: limits.queries,
    maxConcurrentPictures: limits.pictureQueries,
    maxQueueMs: limits.queueMs,
    maxHeldBodyBytes: limits.heldBodyBytes,
    maxConnections: limits.connections,
  }
}

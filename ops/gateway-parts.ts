import { fileURLToPath } from 'node:url'
import type { RoutedGeneration } from '../query-gateway/ports.ts'
import type { GenerationStatus } from '../topologies/control/control-state.ts'

/** The web page. */
export const pageDirectory = fileURLToPath(new URL('../query-gateway/page', import.meta.url))

/** A generation of the control log as the gateway sees it. */
export function routedGeneration({ started, state, share }: GenerationStatus): RoutedGeneration {
  const { generation, model, fingerprint, dims, shards } = started
  return { generation, model, fingerprint, dims, shards, state, share }
}

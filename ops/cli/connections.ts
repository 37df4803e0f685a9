import { FreshetError } from '../../schemas/errors.ts'
import type { SchemaRegistry } from '../../topologies/schema-registry.ts'

export interface RegistryFlags {
  readonly registry?: string
}

const requestTimeoutMs = 10_000

export const registryFlag = [
  '--registry <urls>',
  'base address of the schema registry; several, separated by commas, are asked in turn',
] as const

/** The caller closes it. @throws FreshetError `config-invalid` when none is named */
export async function openRegistry({ registry }: RegistryFlags): Promise<SchemaRegistry> {
  if (registry === undefined) throw new FreshetError('config-invalid', 'name the schema registry with --registry')
  const { ConfluentSchemaRegistry } = await import('../../topologies/confluent/confluent-schema-registry.ts')
  return new ConfluentSchemaRegistry({ urls: registry.split(','), timeoutMs: requestTimeoutMs })
}

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writtenSchemas } from '../schemas/avro/codec.ts'
import { incompatibilities } from '../schemas/avro/compatibility.ts'

export interface SchemaFinding {
  readonly subject: string
  /** Versions that were ever written, by their golden records. */
  readonly versions: readonly number[]
  /** Why the schema this program writes may not be registered after them; empty when it may. */
  readonly problems: readonly string[]
}

const goldenDirectory = fileURLToPath(new URL('../schemas/golden', import.meta.url))

/** Whether the schemas of this program are FULL_TRANSITIVE with every version before them. */
export function checkSchemas(): readonly SchemaFinding[] {
  return writtenSchemas.map(({ subject, schema }) => {
    const earlier = goldenVersions(subject)
    return {
      subject,
      versions: earlier.map(({ version }) => version),
      problems: incompatibilities(schema, earlier),
    }
  })
}

/** Folders `<subject>-v<version>` with the schema and its records. */
function goldenVersions(subject: string): readonly { readonly version: number; readonly schema: string }[] {
  const prefix = `${subject}-v`
  const folders = readdirSync(goldenDirectory).filter(name => name.startsWith(prefix))
  return folders
    .map(name => ({
      version: Number(name.slice(prefix.length)),
      schema: readFileSync(join(goldenDirectory, name, 'schema.avsc'), 'utf8'),
    }))
    .sort((a, b) => a.version - b.version)
}

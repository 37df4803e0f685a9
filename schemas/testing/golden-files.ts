import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Subject } from '../topics.ts'

/**
 * One version of a subject's schema and a record of each of its types as bytes, kept for ever. On disk, under
 * `schemas/golden/<subject>-v<version>/`: `schema.avsc`, and per type `<Type>.bin`, a topic value whose frame has the
 * version as schema id, and `<Type>.json`, what it decodes to, bytes as `{ "base64": … }`.
 */
export interface GoldenVersion {
  readonly subject: Subject
  readonly version: number
  readonly schema: string
  readonly records: readonly GoldenRecord[]
}

export interface GoldenRecord {
  readonly value: Uint8Array
  readonly decoded: { readonly type: string }
}

const root = fileURLToPath(new URL('../golden/', import.meta.url))

/** All versions, the oldest of each subject first. */
export function readGoldenVersions(): readonly GoldenVersion[] {
  return readdirSync(root)
    .map(readGoldenVersion)
    .toSorted((a, b) => a.version - b.version)
}

export function writeGoldenVersion({ subject, version, schema, records }: GoldenVersion): void {
  const folder = `${root}${subject}-v${version}/`
  mkdirSync(folder)
  writeFileSync(`${folder}schema.avsc`, schema)
  for (const { value, decoded } of records) {
    writeFileSync(`${folder}${decoded.type}.bin`, value)
    writeFileSync(`${folder}${decoded.type}.json`, `${JSON.stringify(decoded, withBase64, 2)}\n`)
  }
}

function readGoldenVersion(folderName: string): GoldenVersion {
  const [, subject, version] = /^(.+)-v(\d+)$/.exec(folderName) ?? []
  if (subject === undefined) throw new Error(`schemas/golden/${folderName} is not named <subject>-v<version>`)
  const folder = `${root}${folderName}/`
  const types = readdirSync(folder).flatMap(file => (file.endsWith('.bin') ? [file.slice(0, -'.bin'.length)] : []))
  return {
    subject: subject as Subject,
    version: Number(version),
    schema: readFileSync(`${folder}schema.avsc`, 'utf8'),
    records: types.map(type => ({
      value: readFileSync(`${folder}${type}.bin`),
      decoded: JSON.parse(readFileSync(`${folder}${type}.json`, 'utf8'), fromBase64),
    })),
  }
}

function withBase64(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? { base64: Buffer.from(value).toString('base64') } : value
}

function fromBase64(_key: string, value: { readonly base64?: unknown } | null): unknown {
  return typeof value?.base64 === 'string' ? new Uint8Array(Buffer.from(value.base64, 'base64')) : value
}

import { hash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asFreshetError } from '../../../schemas/errors.ts'

/** Evidence as it is kept: a JSON text under its own SHA-256. */
export interface EvidenceDocument {
  readonly text: string
  /** 64 hex digits. */
  readonly digest: string
}

export function evidenceDocument(document: object): EvidenceDocument {
  const text = JSON.stringify(document)
  return { text, digest: hash('sha256', text) }
}

/** Evidence in a directory, that gateways may share: also of verdicts that made no control record. */
export class EvidenceFiles {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** There whole or not at all. @throws FreshetError storage codes */
  async write({ text, digest }: EvidenceDocument): Promise<void> {
    try {
      await mkdir(this.#directory, { recursive: true })
      const path = this.#path(digest)
      await writeFile(`${path}.tmp`, text)
      await rename(`${path}.tmp`, path)
    } catch (thrown) {
      throw asFreshetError(thrown)
    }
  }

  /** Null: it is not here. */
  async read(digest: string): Promise<string | null> {
    try {
      return await readFile(this.#path(digest), 'utf8')
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw asFreshetError(thrown)
    }
  }

  #path(digest: string): string {
    return join(this.#directory, `${digest}.json`)
  }
}

import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { ImageDigest } from '../../../schemas/ids.ts'

export interface Picture {
  /** As an item refers to it. */
  readonly reference: string
  /** Of its bytes. */
  readonly digest: ImageDigest
}

/** So many files, no two with the same bytes. The stub model looks at no pixel, so they need not be pictures. */
export async function writePictures(directory: string, count: number): Promise<readonly Picture[]> {
  await mkdir(directory, { recursive: true })
  return Promise.all(
    Array.from({ length: count }, async (_, number) => {
      const bytes = `picture ${number}`
      const path = join(directory, `${number}.jpg`)
      await writeFile(path, bytes)
      const digest = createHash('sha256').update(bytes).digest('hex') as ImageDigest
      return { reference: pathToFileURL(path).href, digest }
    }),
  )
}

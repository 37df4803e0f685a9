import { appendFile, readFile, stat } from 'node:fs/promises'
import { type ApiKey, keyLine, parseKeyLines } from '../query-gateway/access/api-key.ts'
import { FreshetError } from '../schemas/errors.ts'

const maxFileBytes = 2 ** 20
const ownerOnly = 0o600

/** Differs when the file was written or replaced; null while there is none. */
export type FileVersion = string | null

export async function versionOf(path: string): Promise<FileVersion> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true })
    return `${ino}:${size}:${mtimeNs}`
  } catch {
    // Why it cannot be looked at is told by whoever reads it next.
    return null
  }
}

/** @throws FreshetError `config-invalid` */
export async function readKeyFile(path: string): Promise<readonly ApiKey[]> {
  let text: string
  try {
    const { size } = await stat(path)
    if (size > maxFileBytes) throw new RangeError(`it has more than ${maxFileBytes} bytes`)
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new FreshetError('config-invalid', `the file of API keys ${path} cannot be read`, { cause })
  }
  return parseKeyLines(text.split('\n'), path)
}

/** Adds a line, durable or not at all in the eyes of a reader, since a line is one small write. */
export async function appendKey(path: string, key: ApiKey): Promise<void> {
  const before = (await versionOf(path)) === null ? '' : await readFile(path, 'utf8')
  const gap = before === '' || before.endsWith('\n') ? '' : '\n'
  await appendFile(path, `${gap}${keyLine(key)}\n`, { mode: ownerOnly })
}

import { readFile } from 'node:fs/promises'
import { FreshetError } from '../schemas/errors.ts'

/** The texts of the PEM files that are given, under the same names. @throws FreshetError `config-invalid` */
export async function readPemFiles<Name extends string>(
  paths: Readonly<Record<Name, string | null>>,
): Promise<{ readonly [K in Name]?: string }> {
  const given = Object.entries<string | null>(paths).filter((entry): entry is [Name, string] => entry[1] !== null)
  const texts = await Promise.all(given.map(async ([name, path]) => [name, await readPem(path)] as const))
  return Object.fromEntries(texts) as { readonly [K in Name]?: string }
}

async function readPem(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(cause => {
    throw new FreshetError('config-invalid', `the PEM file ${path} cannot be read`, { cause })
  })
  if (text.includes('-----BEGIN ')) return text
  throw new FreshetError('config-invalid', `${path} is not a PEM file`)
}

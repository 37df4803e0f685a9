import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import {
  type LabelledQuestion,
  type LabelledSet,
  parseLabelled,
} from '../topologies/generations/canary/labelled-set.ts'
import { demoDirectory } from './demo-catalog.ts'

/** Other views of the products of the demo, and rooms with some of them. */
const demoFiles = ['views.jsonl', 'rooms.jsonl'].map(file => join(demoDirectory, file))

/**
 * The files of labelled questions, or those of the demo, which mean nothing to other catalogues. Pictures lie beside
 * the file that names them. @throws FreshetError `config-invalid`
 */
export async function readLabelledSet(configured: readonly string[]): Promise<LabelledSet> {
  const isConfigured = configured.length > 0
  const hash = createHash('sha256')
  const questions: LabelledQuestion[] = []
  for (const path of isConfigured ? configured : demoFiles) {
    const text = await readText(path)
    hash.update(text)
    questions.push(...parseLabelled(text, path))
  }
  return {
    name: isConfigured ? configured.map(path => basename(path)).join(', ') : 'views and rooms of the demo',
    digest: hash.digest('hex'),
    isConfigured,
    questions,
    picture: readPicture,
  }
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(cause => {
    throw new FreshetError('config-invalid', `the labelled set ${path} cannot be read`, { cause })
  })
}

async function readPicture(path: string): Promise<Uint8Array> {
  return readFile(path).catch(cause => {
    throw new FreshetError('config-invalid', `the picture ${path} of the labelled set cannot be read`, { cause })
  })
}

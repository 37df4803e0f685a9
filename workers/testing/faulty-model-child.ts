import { setTimeout as delay } from 'node:timers/promises'
import { servePictures } from '../picture-server.ts'

/**
 * A model process in which a picture's bytes say what happens to it: `hang` the decoder's thread, `spin` this one,
 * `crash`, grow by 300 MB (`fat`), or take as many ms as they say and come out well.
 */
const fat: Buffer[] = []

async function obey(bytes: Uint8Array): Promise<void> {
  const order = Buffer.from(bytes).toString()
  if (order === 'hang') await new Promise(() => {})
  if (order === 'spin') for (;;);
  if (order === 'crash') process.abort()
  if (order === 'fat') fat.push(Buffer.alloc(300 * 1024 ** 2, 1))
  await delay(Number(order) || 1)
}

if (process.argv[3] === 'v2') throw new Error('no such model here')

await servePictures(async () => ({
  async index(bytes, digest, beforeStep) {
    await beforeStep?.()
    await obey(bytes)
    await beforeStep?.()
    return { digest, width: process.pid, height: 1, objects: [] }
  },
  async analyse(bytes) {
    await obey(bytes)
    return {
      width: process.pid,
      height: 1,
      objects: [],
      searched: null,
      vector: null,
      timingMs: { decode: 0, detect: 0, embed: 0 },
    }
  },
}))

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { demoDirectory } from '../../demo-catalog.ts'

/** Photos one after another, round and round, each with a comment of its own: to every cache it is a new picture. */
export class Photos {
  readonly #photos: readonly Buffer[]
  #next = 0

  constructor() {
    this.#photos = ['rooms', 'views'].flatMap(folder =>
      readdirSync(join(demoDirectory, folder))
        .filter(name => name.endsWith('.jpg'))
        .sort()
        .slice(0, 24)
        .map(name => readFileSync(join(demoDirectory, folder, name))),
    )
  }

  get count(): number {
    return this.#photos.length
  }

  next(): Buffer {
    const number = this.#next++
    const photo = this.#photos[number % this.#photos.length]!
    const comment = Buffer.from(String(number).padStart(12, '0'))
    // After the start of the image: a comment segment, its length with the two bytes that tell it.
    const head = Buffer.from([0xff, 0xfe, 0, comment.length + 2])
    return Buffer.concat([photo.subarray(0, 2), head, comment, photo.subarray(2)])
  }
}

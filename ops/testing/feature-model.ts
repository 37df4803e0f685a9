import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Fingerprint, ImageDigest } from '../../schemas/ids.ts'
import type {
  AnalysedImage,
  ImageBytes,
  ImageModel,
  IndexedImage,
  QuerySelection,
} from '../../schemas/image-analysis.ts'
import type { Box } from '../../schemas/mutation.ts'
import { encodeF16, normalise } from '../../schemas/unit-vector.ts'
import { seededRandom } from '../../topologies/generations/canary/seeded-random.ts'

/** Pixels of a made-up picture: RGB, row by row. */
export const pictureSide = 32
const wholePicture: Box = [0, 0, 1, 1]
const cells = 6
const featureCount = cells * cells * 3

/** A picture that changes slowly from place to place, as real ones do; the same for the same seed. */
export function smoothPicture(seed: number): Uint8Array {
  const random = seededRandom(seed)
  const grid = 5
  const knots = Array.from({ length: grid * grid * 3 }, () => random() * 255)
  const pixels = new Uint8Array(pictureSide * pictureSide * 3)
  for (let at = 0; at < pixels.length; at++) {
    const [place, channel] = [Math.floor(at / 3), at % 3]
    const [x, y] = [place % pictureSide, Math.floor(place / pictureSide)].map(v => (v / pictureSide) * (grid - 1))
    const knot = (col: number, row: number): number => knots[(row * grid + col) * 3 + channel]!
    const [left, top] = [Math.floor(x!), Math.floor(y!)]
    const mix = (a: number, b: number, part: number): number => a + (b - a) * part
    const upper = mix(knot(left, top), knot(left + 1, top), x! - left)
    const lower = mix(knot(left, top + 1), knot(left + 1, top + 1), x! - left)
    pixels[at] = mix(upper, lower, y! - top)
  }
  return pixels
}

/** The same thing seen a little differently. */
export function otherView(picture: Uint8Array, seed: number): Uint8Array {
  const random = seededRandom(seed)
  return picture.map(value => Math.max(0, Math.min(255, value + (random() - 0.5) * 60)))
}

/** How a vector is made of the pixels of a crop; `use` tells indexing from queries. */
export type Embedding = (crop: Uint8Array, use: 'index' | 'query') => Float32Array

/** Looks at made-up pictures: what models do, small. */
export class FeatureModel implements ImageModel {
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  readonly #embed: Embedding

  constructor(model: string, dims: number, embed: Embedding = projected(model, dims)) {
    this.model = model
    this.fingerprint = createHash('sha256').update(model).digest('hex') as Fingerprint
    this.dims = dims
    this.#embed = embed
  }

  async index(image: ImageBytes, digest: ImageDigest): Promise<IndexedImage> {
    const vector = encodeF16(this.#embed(await pixelsOf(image), 'index'))
    return { digest, width: 1, height: 1, objects: [{ box: wholePicture, label: '', score: 1, vector }] }
  }

  async analyse(image: ImageBytes, selection: QuerySelection): Promise<AnalysedImage> {
    const box = typeof selection === 'object' && 'box' in selection ? selection.box : wholePicture
    return {
      width: pictureSide,
      height: pictureSide,
      objects: [],
      searched: { box, object: null },
      vector: this.#embed(cropped(await pixelsOf(image), box), 'query'),
      timingMs: { decode: 0, detect: 0, embed: 0 },
    }
  }
}

async function pixelsOf(image: ImageBytes): Promise<Uint8Array> {
  return 'bytes' in image ? image.bytes : readFile(image.path)
}

/** A box of the picture, stretched to the whole size. */
function cropped(pixels: Uint8Array, [x0, y0, x1, y1]: Box): Uint8Array {
  return pixels.map((_, at) => {
    const [place, channel] = [Math.floor(at / 3), at % 3]
    const [x, y] = [(place % pictureSide) / pictureSide, Math.floor(place / pictureSide) / pictureSide]
    const [col, row] = [x0 + x * (x1 - x0), y0 + y * (y1 - y0)].map(v => Math.floor(v * pictureSide))
    return pixels[(row! * pictureSide + col!) * 3 + channel]!
  })
}

/** Mean colours of the cells of a grid, turned by a matrix that the name decides: as good as any other. */
export function projected(name: string, dims: number): Embedding {
  const random = seededRandom(Number.parseInt(createHash('sha256').update(name).digest('hex').slice(0, 8), 16))
  const matrix = Float32Array.from({ length: dims * featureCount }, () => random() - 0.5)
  return crop => {
    const features = cellMeans(crop)
    const vector = new Float32Array(dims)
    for (let row = 0; row < dims; row++)
      for (let i = 0; i < featureCount; i++) vector[row]! += matrix[row * featureCount + i]! * features[i]!
    return normalise(vector)
  }
}

function cellMeans(pixels: Uint8Array): Float32Array {
  const sums = new Float32Array(featureCount)
  for (let at = 0; at < pixels.length; at++) {
    const [place, channel] = [Math.floor(at / 3), at % 3]
    const [col, row] = [place % pictureSide, Math.floor(place / pictureSide)].map(v =>
      Math.floor((v * cells) / pictureSide),
    )
    sums[(row! * cells + col!) * 3 + channel]! += pixels[at]! - 127.5
  }
  return sums
}

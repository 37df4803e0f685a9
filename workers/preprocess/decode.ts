import sharp from 'sharp'
import { FreshetError } from '../../schemas/errors.ts'
import { sniffPicture } from './picture-format.ts'
import { defaultMaxPixels } from './policies.ts'

/** A decoded picture: RGB, 8 bit, rows from the top, no padding. */
export interface Pixels {
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
}

const longerSide = 1_600

// One picture is one thread's work and is never seen twice: libvips' own threads and cache only cost memory.
sharp.concurrency(1)
sharp.cache(false)
// The signature is checked before; this closes the other loaders for bytes that carry two signatures.
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: [
    'VipsForeignLoadJpeg',
    'VipsForeignLoadPng',
    'VipsForeignLoadWebp',
    'VipsForeignLoadHeif',
    'VipsForeignLoadNsgif',
    'VipsForeignLoadTiff',
  ],
})

/**
 * `decode-v1`: a JPEG, PNG, WebP, AVIF, GIF or TIFF to pixels: first frame, EXIF orientation applied, longer side at most 1,600 px
 * (inside, never enlarged, lanczos3), alpha onto white, sRGB (CMYK by its profile or libvips' own), 8 bit, 3 channels.
 * @throws FreshetError `image-empty` | `image-format` | `image-too-many-pixels` (known from the header, before any
 * pixel is decoded) | `image-corrupt`
 */
export async function decodePicture(bytes: Uint8Array, maxPixels: number = defaultMaxPixels): Promise<Pixels> {
  if (bytes.length === 0) throw new FreshetError('image-empty', 'the image has no bytes')
  const format = sniffPicture(bytes)
  if (format === null) throw new FreshetError('image-format', 'the bytes are not a picture of a known format')
  try {
    await refuseTooManyPixels(bytes, maxPixels)
    const { data, info } = await sharp(bytes, { failOn: 'error', limitInputPixels: maxPixels })
      .autoOrient()
      .resize(longerSide, longerSide, { fit: 'inside', withoutEnlargement: true, kernel: 'lanczos3' })
      .flatten({ background: '#ffffff' })
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    return { data, width: info.width, height: info.height }
  } catch (thrown) {
    if (thrown instanceof FreshetError) throw thrown
    const reason = (thrown instanceof Error ? thrown.message : String(thrown)).split('\n').at(-1)
    throw new FreshetError('image-corrupt', `the ${format} picture could not be decoded: ${reason}`, { cause: thrown })
  }
}

async function refuseTooManyPixels(bytes: Uint8Array, maxPixels: number): Promise<void> {
  const { width, height } = await sharp(bytes, { failOn: 'error', limitInputPixels: false }).metadata()
  if (width * height <= maxPixels) return
  throw new FreshetError(
    'image-too-many-pixels',
    `the picture has ${width} x ${height} pixels, the limit is ${maxPixels} in all`,
  )
}

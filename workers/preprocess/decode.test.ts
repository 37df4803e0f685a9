import { readFile } from 'node:fs/promises'
import sharp, { type Sharp } from 'sharp'
import { describe, expect, test } from 'vitest'
import { decodePicture, type Pixels } from './decode.ts'

const side = 64
const red = [200, 30, 60] as const

describe('every kind of picture comes out as 8-bit RGB', () => {
  const kinds: Record<string, () => Promise<Buffer>> = {
    'baseline JPEG': () => filled(red).jpeg({ quality: 100 }).toBuffer(),
    'progressive JPEG': () => filled(red).jpeg({ quality: 100, progressive: true }).toBuffer(),
    PNG: () => filled(red).png().toBuffer(),
    'palette PNG': () => filled(red).png({ palette: true }).toBuffer(),
    '16-bit PNG': () => deep(red).png().toBuffer(),
    'WebP without loss': () => filled(red).webp({ lossless: true }).toBuffer(),
    AVIF: () => filled(red).avif({ quality: 90 }).toBuffer(),
    GIF: () => filled(red).gif().toBuffer(),
    TIFF: () => filled(red).tiff().toBuffer(),
    '16-bit TIFF': () => deep(red).tiff({ compression: 'lzw' }).toBuffer(),
    'JPEG in Display P3': () => filled(red).withIccProfile('p3').jpeg({ quality: 100 }).toBuffer(),
  }
  test.each(Object.entries(kinds))('%s', async (_, make) => {
    const pixels = await decodePicture(await make())
    expect([pixels.width, pixels.height]).toEqual([side, side])
    expectColour(pixels, red, 4)
  })

  test('grey, 8 and 16 bit', async () => {
    const grey = (await filled([128, 128, 128]).toColourspace('b-w').jpeg().toBuffer()) as Buffer
    const deepGrey = await deep([128, 128, 128]).toColourspace('grey16').png().toBuffer()
    expectColour(await decodePicture(grey), [128, 128, 128], 1)
    expectColour(await decodePicture(deepGrey), [128, 128, 128], 1)
  })

  test.each(['with', 'without'])('CMYK JPEG %s a profile keeps its colour', async how => {
    const soft = [150, 110, 90] as const
    const cmyk = filled(soft).toColourspace('cmyk')
    const jpeg = await (how === 'with' ? cmyk.withIccProfile('cmyk') : cmyk).jpeg({ quality: 100 }).toBuffer()
    expect(await sharp(jpeg).metadata()).toMatchObject({ space: 'cmyk', channels: 4 })
    // Ink has no such brown: two conversions move it a little. Inverted inks would be 60 off.
    expectColour(await decodePicture(jpeg), soft, 24)
  })

  test('CMYK TIFF', async () => {
    const soft = [150, 110, 90] as const
    expectColour(await decodePicture(await filled(soft).toColourspace('cmyk').tiff().toBuffer()), soft, 12)
  })
})

describe('transparency lies on white', () => {
  test.each([8, 16])('%i bit', async depth => {
    const clear = depth === 8 ? filled([200, 30, 60, 0]) : deep([200, 30, 60, 0])
    expectColour(await decodePicture(await clear.png().toBuffer()), [255, 255, 255], 0)
  })

  test('half transparent', async () => {
    const pixels = await decodePicture(await filled([255, 0, 0, 128]).webp({ lossless: true }).toBuffer())
    expectColour(pixels, [255, 127, 127], 1)
  })
})

test.each([1, 2, 3, 4, 5, 6, 7, 8])('EXIF orientation %i is applied', async orientation => {
  const upright = await corners(48, 32)
  const stored = await storedAs(upright, orientation)
  const pixels = await decodePicture(await stored.withMetadata({ orientation }).jpeg({ quality: 100 }).toBuffer())
  expect([pixels.width, pixels.height]).toEqual([48, 32])
  expectAt(pixels, [4, 4], [255, 0, 0])
  expectAt(pixels, [43, 4], [0, 255, 0])
  expectAt(pixels, [4, 27], [0, 0, 255])
})

test.each(['gif', 'webp'] as const)('of an animated %s the first frame', async format => {
  const frames = [red, [0, 0, 255] as const].map(colour => filled(colour).png().toBuffer())
  const animated = sharp(await Promise.all(frames), { join: { animated: true } })
  const bytes = await (format === 'gif'
    ? animated.gif({ delay: [50, 50] })
    : animated.webp({ lossless: true })
  ).toBuffer()
  expect((await sharp(bytes, { animated: true }).metadata()).pages).toBe(2)
  const pixels = await decodePicture(bytes)
  expect([pixels.width, pixels.height]).toEqual([side, side])
  expectColour(pixels, red, 4)
})

test('the longer side is at most 1,600 and nothing is enlarged', async () => {
  const large = await decodePicture(await plain(3_200, 800).jpeg().toBuffer())
  expect([large.width, large.height]).toEqual([1_600, 400])
  const small = await decodePicture(await plain(3, 1).png().toBuffer())
  expect([small.width, small.height]).toEqual([3, 1])
})

describe('refused with its reason', () => {
  test('no bytes', () => expectCode(new Uint8Array(0), 'image-empty'))

  test.each([
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'],
    ['PDF', '%PDF-1.4\n%%EOF'],
    ['HTML', '<!doctype html><title>not here</title>'],
    ['HEIC', '\0\0\0\u0018ftypheic\0\0\0\0mif1heic'],
    ['nothing known', 'P6 2 2 255 abcdefghijkl'],
  ])('%s', (_, text) => expectCode(Buffer.from(text, 'latin1'), 'image-format'))

  test.each(['jpeg', 'png', 'webp', 'avif', 'gif', 'tiff'] as const)('truncated %s', async format => {
    const whole = await sharp(await readFile(new URL('../models/golden/room-000.jpg', import.meta.url)))
      .toFormat(format)
      .toBuffer()
    for (const share of [0.02, 0.5, 0.98]) await expectCode(whole.subarray(0, whole.length * share), 'image-corrupt')
  })

  test('a signature with noise behind it', async () => {
    const noise = Buffer.from(Array.from({ length: 5_000 }, (_, i) => (i * 7919) & 255))
    await expectCode(Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), noise]), 'image-corrupt')
  })

  test('100 megapixels in 1 MB, before any of them is decoded', async () => {
    const bomb = await plain(10_000, 10_000).png().toBuffer()
    await expectCode(bomb, 'image-too-many-pixels')
  })

  test('the limit is inclusive', async () => {
    const bytes = await plain(100, 100).png().toBuffer()
    expect((await decodePicture(bytes, 10_000)).width).toBe(100)
    await expect(decodePicture(bytes, 9_999)).rejects.toMatchObject({ code: 'image-too-many-pixels' })
  })
})

test('a name is not asked: PNG bytes are a PNG whatever they were called', async () => {
  expectColour(await decodePicture(await filled(red).png().toBuffer()), red, 0)
})

function filled(colour: readonly number[]): Sharp {
  const data = Uint8Array.from({ length: side * side * colour.length }, (_, i) => colour[i % colour.length]!)
  return sharp(data, { raw: { width: side, height: side, channels: colour.length as 3 | 4 } })
}

/** The same in 16 bit. */
function deep(colour: readonly number[]): Sharp {
  const data = Uint16Array.from({ length: side * side * colour.length }, (_, i) => colour[i % colour.length]! * 257)
  const channels = colour.length as 3 | 4
  return sharp(data, { raw: { width: side, height: side, channels } }).toColourspace('rgb16')
}

function plain(width: number, height: number): Sharp {
  return sharp({ create: { width, height, channels: 3, background: '#345678' } })
}

/** Red, green and blue in three corners of a grey picture. */
async function corners(width: number, height: number): Promise<Buffer> {
  const patch = (background: string) => ({ create: { width: 12, height: 12, channels: 3 as const, background } })
  return sharp({ create: { width, height, channels: 3, background: '#808080' } })
    .composite([
      { input: patch('#ff0000'), left: 0, top: 0 },
      { input: patch('#00ff00'), left: width - 12, top: 0 },
      { input: patch('#0000ff'), left: 0, top: height - 12 },
    ])
    .png()
    .toBuffer()
}

/** The picture as a camera stores it that says `orientation`: the inverse of what a viewer does. sharp flips first. */
async function storedAs(upright: Buffer, orientation: number): Promise<Sharp> {
  const turned: Record<number, (picture: Sharp) => Sharp> = {
    1: picture => picture,
    2: picture => picture.flop(),
    3: picture => picture.rotate(180),
    4: picture => picture.flip(),
    5: picture => picture.flip().rotate(90),
    6: picture => picture.rotate(270),
    7: picture => picture.flip().rotate(270),
    8: picture => picture.rotate(90),
  }
  return sharp(await turned[orientation]!(sharp(upright)).png().toBuffer())
}

function expectColour(pixels: Pixels, colour: readonly number[], tolerance: number): void {
  expect(pixels.data.length).toBe(pixels.width * pixels.height * 3)
  expectAt(pixels, [pixels.width >> 1, pixels.height >> 1], colour, tolerance)
}

function expectAt(pixels: Pixels, [x, y]: readonly [number, number], colour: readonly number[], tolerance = 12): void {
  const at = (y * pixels.width + x) * 3
  const differences = colour.map((value, c) => Math.abs(value - pixels.data[at + c]!))
  expect(Math.max(...differences), `${pixels.data.slice(at, at + 3)} for ${colour}`).toBeLessThanOrEqual(tolerance)
}

async function expectCode(bytes: Uint8Array, code: string): Promise<void> {
  await expect(decodePicture(bytes)).rejects.toMatchObject({ code })
}

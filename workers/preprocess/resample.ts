import sharp, { type Sharp } from 'sharp'
import type { Box } from '../../schemas/mutation.ts'
import type { Pixels } from './decode.ts'

/** `stretch-v1`: the whole picture stretched to a square, kernel linear. */
export async function stretch(pixels: Pixels, size: number): Promise<Uint8Array> {
  return rawImage(pixels).resize(size, size, { fit: 'fill', kernel: 'linear' }).raw().toBuffer()
}

/**
 * `crop-square-v1`: the square of the box's longer side round its centre with the picture's real surroundings, edge
 * pixels repeated outside the picture, resized with lanczos3.
 */
export async function cropSquare(pixels: Pixels, box: Box, size: number): Promise<Uint8Array> {
  const { left, top, side } = squareRound(pixels, box)
  const x0 = Math.max(0, left)
  const y0 = Math.max(0, top)
  const x1 = Math.min(pixels.width, left + side)
  const y1 = Math.min(pixels.height, top + side)
  const inside = rawImage(pixels).extract({ left: x0, top: y0, width: x1 - x0, height: y1 - y0 })
  const missing = { left: x0 - left, top: y0 - top, right: left + side - x1, bottom: top + side - y1 }
  const whole = missing.left + missing.top + missing.right + missing.bottom === 0
  const square = whole ? inside : await repeatEdges(inside, missing, side)
  return square.resize(size, size, { fit: 'fill', kernel: 'lanczos3' }).raw().toBuffer()
}

interface Square {
  /** May lie outside the picture. */
  readonly left: number
  readonly top: number
  readonly side: number
}

function squareRound(pixels: Pixels, [x0, y0, x1, y1]: Box): Square {
  const width = (x1 - x0) * pixels.width
  const height = (y1 - y0) * pixels.height
  const side = Math.max(1, Math.round(Math.max(width, height)))
  const left = Math.round(((x0 + x1) / 2) * pixels.width - side / 2)
  const top = Math.round(((y0 + y1) / 2) * pixels.height - side / 2)
  return { left, top, side }
}

type Margins = { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number }

async function repeatEdges(inside: Sharp, margins: Margins, side: number): Promise<Sharp> {
  // A second pass: within one, sharp extends after it resizes.
  const data = await inside
    .extend({ ...margins, extendWith: 'copy' })
    .raw()
    .toBuffer()
  return rawImage({ data, width: side, height: side })
}

function rawImage(pixels: Pixels): Sharp {
  return sharp(pixels.data, { raw: { width: pixels.width, height: pixels.height, channels: 3 } })
}

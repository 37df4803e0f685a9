import { ApiError } from './api.js'

/** A photo ready to be sent and shown. `width` and `height` are of the upright picture; null when this browser cannot show it.
 * @typedef {object} Photo
 * @property {Blob} upload
 * @property {string} address object URL for an img
 * @property {{ readonly width: number, readonly height: number } | null} size
 */

/** The server decodes to this length anyway: more pixels would only be slower to send. */
const longestSidePx = 1600
const largestUploadBytes = 4 * 1024 * 1024
const jpegQuality = 0.9
const serverFormats = new Set(['image/jpeg', 'image/png', 'image/webp', 'image/avif', 'image/gif', 'image/tiff'])

/**
 * Shrinks what is needlessly large and turns it upright. What this browser cannot decode goes to the server as it is:
 * the server knows more formats and says best what is wrong with the rest.
 * @param {Blob} file
 * @returns {Promise<Photo>}
 * @throws {ApiError} `heic-unsupported`
 */
export async function preparePhoto(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' }).catch(() => null)
  if (bitmap === null) {
    if (isHeic(file)) throw new ApiError('heic-unsupported', 'This browser cannot read HEIC photos.', false)
    return photoOf(file, null)
  }
  const size = { width: bitmap.width, height: bitmap.height }
  const scale = Math.min(1, longestSidePx / Math.max(size.width, size.height))
  const goesAsItIs = scale === 1 && file.size <= largestUploadBytes && serverFormats.has(file.type)
  const photo = goesAsItIs ? photoOf(file, size) : photoOf(await redraw(bitmap, scale), size)
  bitmap.close()
  return photo
}

/**
 * @param {ImageBitmap} bitmap
 * @param {number} scale
 * @returns {Promise<Blob>}
 */
function redraw(bitmap, scale) {
  const canvas = document.createElement('canvas')
  canvas.width = Math.max(1, Math.round(bitmap.width * scale))
  canvas.height = Math.max(1, Math.round(bitmap.height * scale))
  const context = canvas.getContext('2d')
  if (context === null) throw new Error('this browser has no 2d canvas')
  // JPEG has no alpha: transparent parts become white here as they do in indexing
  context.fillStyle = '#fff'
  context.fillRect(0, 0, canvas.width, canvas.height)
  context.imageSmoothingQuality = 'high'
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      blob => (blob === null ? reject(new Error('the photo could not be redrawn')) : resolve(blob)),
      'image/jpeg',
      jpegQuality,
    )
  })
}

/**
 * @param {Blob} upload
 * @param {Photo['size']} size
 * @returns {Photo}
 */
function photoOf(upload, size) {
  return { upload, address: URL.createObjectURL(upload), size }
}

/** @param {Blob} file */
function isHeic(file) {
  return /hei[cf]/i.test(file.type) || (file instanceof File && /\.hei[cf]$/i.test(file.name))
}

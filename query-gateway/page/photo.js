import { ApiError } from './request.js'

/**
 * A photo ready to be sent and shown.
 * @typedef {object} Photo
 * @property {Blob} upload
 * @property {string} address object URL for an img; kept as long as the page, because the back button may want it again
 * @property {{ readonly width: number, readonly height: number } | null} size of the upright picture; null when this
 *   browser cannot show it
 */

/** The server decodes to this length anyway: more pixels would only be slower to send. */
const longestSidePx = 1600
const largestUploadBytes = 4 * 1024 * 1024
/** What cannot be decoded here is sent whole, but a film dropped by mistake is not. */
const largestUnseenBytes = 32 * 1024 * 1024
const jpegQuality = 0.9
const serverFormats = new Set(['image/jpeg', 'image/png', 'image/webp', 'image/avif', 'image/gif', 'image/tiff'])

/**
 * Shrinks what is needlessly large and turns it upright. What this browser cannot decode goes to the server as it is:
 * the server knows more formats and says best what is wrong with the rest.
 * @param {Blob} file
 * @returns {Promise<Photo>}
 * @throws {ApiError} `heic-unsupported` | `image-too-large`
 */
export async function preparePhoto(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' }).catch(() => null)
  if (bitmap === null) {
    if (isHeic(file)) throw new ApiError('heic-unsupported', 'This browser cannot read HEIC photos.', false)
    if (file.size > largestUnseenBytes) throw new ApiError('image-too-large', 'The file is too large.', false)
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

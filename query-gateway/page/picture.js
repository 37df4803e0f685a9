import { pictureAddress, pictureFile } from './api.js'
import { currentKey } from './api-key.js'
import { element } from './element.js'

/** How far outside the view a picture begins to load. */
const loadAheadPx = '300px'

/** @type {WeakMap<Element, () => void>} */
const waiting = new WeakMap()
const inView = new IntersectionObserver(
  entries => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue
      inView.unobserve(target)
      waiting.get(target)?.()
      waiting.delete(target)
    }
  },
  { rootMargin: loadAheadPx },
)

/**
 * The picture of a product on its plate. One that cannot be shown leaves a plain plate, not a broken image.
 * @param {string} itemId
 * @param {string | null} blob stored copy of the picture, where known
 */
export function productPicture(itemId, blob) {
  return element('span', { class: 'plate' }, serverPicture(pictureAddress(itemId, blob)))
}

/**
 * A picture of this server, loaded when it comes into view. An img cannot show a key: where one is needed, the page
 * fetches the file itself.
 * @param {string} address
 * @param {Record<string, string | number>} [attributes]
 */
export function serverPicture(address, attributes = {}) {
  const image = element('img', {
    attributes: { alt: '', loading: 'lazy', decoding: 'async', draggable: 'false', ...attributes },
    on: { error: () => image.remove() },
  })
  if (currentKey() === null) {
    image.src = address
    return image
  }
  image.loading = 'eager'
  waiting.set(image, () => showFile(image, address))
  inView.observe(image)
  return image
}

/**
 * @param {HTMLImageElement} image
 * @param {string} address
 */
async function showFile(image, address) {
  try {
    const url = URL.createObjectURL(await pictureFile(address))
    image.addEventListener('load', () => URL.revokeObjectURL(url), { once: true })
    image.src = url
  } catch {
    // why does not matter: the plate stays plain
    image.remove()
  }
}

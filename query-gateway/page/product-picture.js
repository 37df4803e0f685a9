import { pictureAddress } from './api.js'
import { element } from './element.js'

/**
 * The picture of a product on its plate. One that cannot be shown leaves a plain plate, not a broken image.
 * @param {string} itemId
 * @param {string | null} blob stored copy of the picture, where known
 */
export function productPicture(itemId, blob) {
  const image = element('img', {
    attributes: { src: pictureAddress(itemId, blob), alt: '', loading: 'lazy', decoding: 'async', draggable: 'false' },
    on: { error: () => image.remove() },
  })
  return element('span', { class: 'plate' }, image)
}

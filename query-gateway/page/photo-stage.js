import { area, isWholePicture, layOver, wholePicture } from './box.js'
import { BoxDrawing } from './box-drawing.js'
import { element } from './element.js'
import { mainObjects } from './main-objects.js'

/** @import { Box } from './box.js' */

/**
 * @typedef {object} PhotoStageListener
 * @property {(object: number) => void} objectChosen index into the objects shown
 * @property {(box: Box) => void} boxDrawn
 * @property {(isDrawing: boolean) => void} drawingChanged
 */

/** @type {Box} */
const firstFrame = [0.25, 0.25, 0.75, 0.75]
const unknownSize = { width: 4, height: 3 }
const frameLabel =
  'Search area. Arrow keys move it, Shift and arrow keys size it, Enter searches it, Escape leaves it as it was.'

/** The photo with its objects as buttons and a frame round what is searched. */
export class PhotoStage {
  #root
  #listener
  #image = element('img', { attributes: { alt: 'Your photo', draggable: 'false' } })
  #unseen = element('p', {
    class: 'stage-unseen',
    text: 'This browser cannot show the photo. It is searched all the same.',
  })
  #shade = element('div', { class: 'shade' })
  #objects = element('div', {
    class: 'stage-objects',
    attributes: { role: 'group', 'aria-label': 'Objects in the photo' },
  })
  #frame = frameWithHandles()
  #drawing
  /** @type {readonly Box[]} in the detector's order */
  #boxes = []
  /** @type {HTMLButtonElement[]} in reading order */
  #buttons = []
  /** Of the objects that are not parts of others. @type {HTMLElement[]} */
  #dots = []
  /** @type {{ box: Box, object: number | null }} */
  #searched = { box: wholePicture, object: null }

  /**
   * @param {HTMLElement} root
   * @param {PhotoStageListener} listener
   */
  constructor(root, listener) {
    this.#root = root
    this.#listener = listener
    const picture = element('div', { class: 'stage-picture' }, this.#image, this.#unseen, this.#shade)
    root.append(picture, this.#objects, this.#frame)
    this.#drawing = new BoxDrawing(root, this.#frame, {
      preview: box => {
        root.classList.add('dragging')
        this.#lay(box)
      },
      drawn: box => {
        this.#stopDrawing()
        listener.boxDrawn(box)
      },
      cancelled: () => {
        this.#stopDrawing()
        this.show(this.#searched)
      },
    })
    this.#objects.addEventListener('keydown', event => this.#moveFocus(event))
  }

  /**
   * Another photo, without objects yet.
   * @param {string} address
   * @param {{ readonly width: number, readonly height: number } | null} size
   */
  open(address, size) {
    this.#stopDrawing()
    this.#image.hidden = size === null
    this.#unseen.hidden = size !== null
    if (size !== null) this.#image.src = address
    const { width, height } = size ?? unknownSize
    this.#root.style.setProperty('--ratio', String(width / height))
    this.showObjects([])
    this.show({ box: wholePicture, object: null })
  }

  /** @param {readonly { readonly box: Box, readonly score: number }[]} objects in the detector's order */
  showObjects(objects) {
    this.#boxes = objects.map(object => object.box)
    const main = mainObjects(objects)
    const inReadingOrder = this.#boxes
      .map((box, index) => ({ index, middle: box[0] + box[2] }))
      .sort((a, b) => a.middle - b.middle)
    this.#buttons = inReadingOrder.map(({ index }, place) =>
      this.#objectButton(index, { name: `object ${place + 1} of ${objects.length}`, isMain: main.has(index) }),
    )
    this.#dots = inReadingOrder.filter(({ index }) => main.has(index)).map(({ index }) => this.#dot(index))
    this.#objects.replaceChildren(...this.#buttons, ...this.#dots)
    this.#markChosen()
  }

  /** Shows at once which object was tapped, before its answer is there. @param {number} object */
  choose(object) {
    const box = this.#boxes[object]
    if (box !== undefined) this.show({ box, object })
  }

  /** @param {{ readonly box: Box, readonly object: number | null }} searched */
  show(searched) {
    this.#searched = searched
    this.#markChosen()
    // an answer that comes in meanwhile does not take the frame out of a person's hand
    if (this.#drawing.isUnderWay) return
    this.#root.classList.remove('dragging')
    this.#drawing.startFrom(searched.box)
    this.#lay(searched.box)
    const isWhole = searched.object === null && isWholePicture(searched.box)
    this.#shade.hidden = isWhole
    this.#frame.hidden = isWhole
  }

  /** Puts a frame on the photo that pointer, finger and keys can change. A second call leaves it again. */
  toggleDrawing() {
    if (this.#drawing.isArmed) {
      this.#stopDrawing()
      this.show(this.#searched)
      return
    }
    const box = this.#frame.hidden ? firstFrame : this.#searched.box
    this.#drawing.arm(true)
    this.#drawing.startFrom(box)
    this.#root.classList.add('drawing')
    this.#lay(box)
    this.#frame.focus()
    this.#listener.drawingChanged(true)
  }

  /**
   * What is not one of the main things is drawn faintly, so that the photo stays calm.
   * @param {number} index
   * @param {{ readonly name: string, readonly isMain: boolean }} shown
   */
  #objectButton(index, { name, isMain }) {
    const button = element('button', {
      class: isMain ? 'object' : 'object minor',
      attributes: { type: 'button', 'aria-label': name, 'data-object': index },
      on: { click: () => this.#listener.objectChosen(index) },
    })
    const box = this.#boxes[index] ?? wholePicture
    layOver(button, box)
    // smaller ones lie on top, so that a lamp on a table can be tapped
    button.style.zIndex = String(Math.round((1 - area(box)) * 1000))
    return button
  }

  /**
   * Marks the middle of an object and lies above all of them: a tap there means this object and not a part of it.
   * @param {number} index
   */
  #dot(index) {
    const dot = element('span', {
      class: 'object-dot',
      attributes: { 'aria-hidden': 'true', 'data-object': index },
      on: { click: () => this.#listener.objectChosen(index) },
    })
    const [left, top, right, bottom] = this.#boxes[index] ?? wholePicture
    dot.style.left = `${(left + right) * 50}%`
    dot.style.top = `${(top + bottom) * 50}%`
    return dot
  }

  #stopDrawing() {
    if (!this.#drawing.isArmed) return
    this.#drawing.arm(false)
    this.#root.classList.remove('drawing')
    this.#listener.drawingChanged(false)
  }

  /** @param {Box} box */
  #lay(box) {
    this.#shade.hidden = false
    this.#frame.hidden = false
    layOver(this.#shade, box)
    layOver(this.#frame, box)
  }

  #markChosen() {
    const object = String(this.#searched.object)
    const chosen = this.#buttons.find(button => button.dataset.object === object)
    for (const dot of this.#dots) dot.hidden = dot.dataset.object === object
    for (const button of this.#buttons) button.setAttribute('aria-pressed', String(button === chosen))
    this.#letTabReach(chosen ?? this.#buttons[0])
  }

  /** One object is in the tab order, arrow keys reach the others. @param {HTMLButtonElement | undefined} reachable */
  #letTabReach(reachable) {
    for (const button of this.#buttons) button.tabIndex = button === reachable ? 0 : -1
  }

  /** @param {KeyboardEvent} event */
  #moveFocus(event) {
    const step = focusStep(event.key)
    const at = this.#buttons.findIndex(button => button.matches(':focus'))
    if (step === null || at < 0) return
    const next = this.#buttons.at((at + step) % this.#buttons.length)
    this.#letTabReach(next)
    next?.focus()
    event.preventDefault()
  }
}

/** @param {string} key */
function focusStep(key) {
  switch (key) {
    case 'ArrowRight':
    case 'ArrowDown':
      return 1
    case 'ArrowLeft':
    case 'ArrowUp':
      return -1
    default:
      return null
  }
}

function frameWithHandles() {
  const handles = ['nw', 'ne', 'sw', 'se'].map(corner => {
    const handle = element('span', { class: `handle handle-${corner}` })
    handle.dataset.corner = corner
    return handle
  })
  const attributes = { role: 'application', tabindex: -1, 'aria-label': frameLabel }
  return element('div', { class: 'frame', attributes }, ...handles)
}

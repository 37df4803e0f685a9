import { pageElement } from './element.js'

/** The ways in for a photo: choosing and taking one, and dropping and pasting anywhere on the page. */
export class PhotoIntake {
  #onPhoto
  #fileInput = pageElement('file-input', HTMLInputElement)
  #cameraInput = pageElement('camera-input', HTMLInputElement)
  #dropCover = pageElement('drop-cover', HTMLElement)
  #dropText = pageElement('drop-cover-text', HTMLElement)
  #purpose

  /**
   * @param {(photo: Blob) => void} onPhoto
   * @param {() => string} purpose what dropping would do, asked while a photo is over the page
   */
  constructor(onPhoto, purpose) {
    this.#onPhoto = onPhoto
    this.#purpose = purpose
    for (const button of document.querySelectorAll('[data-photo="choose"]'))
      button.addEventListener('click', () => this.#fileInput.click())
    for (const button of document.querySelectorAll('[data-photo="take"]'))
      button.addEventListener('click', () => this.#cameraInput.click())
    for (const input of [this.#fileInput, this.#cameraInput])
      input.addEventListener('change', () => this.#chosen(input))
    document.addEventListener('paste', event => this.#take(event.clipboardData, event))
    document.addEventListener('dragover', event => this.#hover(event))
    document.addEventListener('dragleave', event => {
      if (event.relatedTarget === null) this.#dropCover.hidden = true
    })
    document.addEventListener('drop', event => {
      this.#dropCover.hidden = true
      this.#take(event.dataTransfer, event)
    })
  }

  /** @param {HTMLInputElement} input */
  #chosen(input) {
    const [file] = input.files ?? []
    // the same file can be chosen again
    input.value = ''
    if (file !== undefined) this.#onPhoto(file)
  }

  /** @param {DragEvent} event */
  #hover(event) {
    if (!event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    this.#dropText.textContent = this.#purpose()
    this.#dropCover.hidden = false
  }

  /**
   * @param {DataTransfer | null} data
   * @param {Event} event
   */
  #take(data, event) {
    const [file] = data?.files ?? []
    if (file === undefined) return
    event.preventDefault()
    this.#onPhoto(file)
  }
}

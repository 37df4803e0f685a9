import { item } from './api.js'
import { askForKeyWith } from './api-key.js'
import { Arrivals } from './arrivals.js'
import { ConnectionBanner } from './connection-banner.js'
import { pageElement } from './element.js'
import { GenerationsView } from './generations-view.js'
import { promptForKey } from './key-dialog.js'
import { Landing } from './landing.js'
import { LiveFeed } from './live-feed.js'
import { LivePanel } from './live-panel.js'
import { PhotoIntake } from './photo-intake.js'
import { PublishView } from './publish-view.js'
import { ApiError, answerOf } from './request.js'
import { SavedProducts } from './saved-products.js'
import { SearchView } from './search-view.js'

/**
 * @import { LiveEvent } from '../../schemas/http-operations.ts'
 * @import { Entry } from './search-session.js'
 */

const main = pageElement('main', HTMLElement)
const views = {
  landing: pageElement('landing', HTMLElement),
  search: pageElement('search', HTMLElement),
  publish: pageElement('publish', HTMLElement),
  generations: pageElement('generations', HTMLElement),
}
/** Views with an address of their own: `/?publish`. */
const openers = { publish: showPublish, generations: showGenerations }
const arrivalsSection = pageElement('arrivals', HTMLElement)
const emptyIndex = pageElement('empty-index', HTMLElement)

/** Searches of this visit by the number that the browser's history keeps. @type {Map<number, Entry>} */
const entries = new Map()
/** Products that were published from this page. @type {Set<string>} */
const own = new Set()

askForKeyWith(promptForKey)
const landing = new Landing(photo => search.openPhoto(photo))
const panel = new LivePanel()
const banner = new ConnectionBanner(enterKey)
const saved = new SavedProducts({ chosen: product => search.openProduct(product), changed: () => search.showSaved() })
const arrivals = new Arrivals(pageElement('arrival-list', HTMLElement), arrival => search.openProduct(arrival))
const search = new SearchView({
  entered: remember,
  opened: () => {
    landing.clearProblem()
    show('search')
  },
  refused: error => {
    if (views.search.hidden) landing.showProblem(error, () => search.retry())
    else search.showRefusal(error)
  },
  saveToggled: product => saved.toggle(product),
  isSaved: itemId => saved.has(itemId),
  isOwn: itemId => own.has(itemId),
})
const publish = new PublishView({
  accepted: ({ itemId }) => own.add(itemId),
  find: photo => search.openPhoto(photo),
})
const generations = new GenerationsView()
new PhotoIntake(
  photo => (views.publish.hidden ? search.openPhoto(photo) : publish.takePhoto(photo)),
  () => (views.publish.hidden ? 'Drop the photo to search with it' : 'Drop the photo of your product'),
)

pageElement('back', HTMLButtonElement).addEventListener('click', () => history.back())
for (const view of viewNames())
  for (const link of document.querySelectorAll(`a[href="/?${view}"]`))
    link.addEventListener('click', event => {
      if (isMeantForTheBrowser(event)) return
      event.preventDefault()
      if (!views[view].hidden) return
      history.pushState({ view }, '', `/?${view}`)
      openers[view]()
    })
pageElement('skip', HTMLAnchorElement).addEventListener('click', event => {
  // following the link would be a step in the history, which here means another search
  event.preventDefault()
  main.focus()
})
addEventListener('popstate', showWhereHistoryIs)
const feed = new LiveFeed({
  news: showNews,
  lost: why => panel.showLost(banner.lost(why)),
})
feed.run()
openAddress()
await landing.offerSamples()

/** @param {Entry} entry */
function remember(entry) {
  const number = entries.size + 1
  entries.set(number, entry)
  const { subject } = entry
  const query = subject.kind === 'product' ? `?item=${encodeURIComponent(subject.product.itemId)}` : ''
  history.pushState({ entry: number }, '', `/${query}`)
}

/** @param {keyof typeof views} view */
function show(view) {
  for (const [name, section] of Object.entries(views)) section.hidden = name !== view
  if (view !== 'generations') generations.close()
  main.focus({ preventScroll: true })
  scrollTo({ top: 0 })
}

function showPublish() {
  search.close()
  landing.clearProblem()
  publish.offerCategories(search.categories)
  show('publish')
}

function showGenerations() {
  search.close()
  landing.clearProblem()
  pageElement('live', HTMLElement).hidePopover()
  show('generations')
  generations.open()
}

function showLanding() {
  search.close()
  show('landing')
}

function showWhereHistoryIs() {
  const entry = entries.get(history.state?.entry)
  const view = addressedView()
  if (entry !== undefined) search.restore(entry)
  else if (view !== undefined) openers[view]()
  else showLanding()
}

function addressedView() {
  const query = new URLSearchParams(location.search)
  return viewNames().find(view => query.has(view))
}

function viewNames() {
  return /** @type {(keyof typeof openers)[]} */ (Object.keys(openers))
}

/**
 * `/?item=ID` opens on what looks like that product, so that such a search can be shared and reloaded; `/?publish` and
 * `/?generations` on their views.
 */
async function openAddress() {
  const view = addressedView()
  if (view !== undefined) return openers[view]()
  const itemId = new URLSearchParams(location.search).get('item')
  if (itemId === null) return
  try {
    const { title, blobs } = await item(itemId)
    history.replaceState(null, '', '/')
    search.openProduct({ itemId, title, blob: blobs[0] ?? null })
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    landing.showProblem(error, openAddress)
  }
}

/** A person asks to be asked. */
async function enterKey() {
  try {
    await answerOf('/v1/status')
    feed.askNow()
    await landing.offerSamples()
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    panel.showLost(banner.lost(error))
  }
}

/** @param {LiveEvent} news */
function showNews(news) {
  panel.show(news)
  banner.news(news.status)
  arrivals.add(news.recent)
  arrivalsSection.hidden = arrivals.isEmpty
  const { searchable, pending, failed } = news.status.items
  emptyIndex.hidden = !news.status.ready || searchable + pending + failed > 0
}

/** To another tab or window, as with every link. @param {Event} event */
function isMeantForTheBrowser(event) {
  return event instanceof MouseEvent && (event.ctrlKey || event.metaKey || event.shiftKey)
}

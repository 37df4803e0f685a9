import { ApiError, item } from './api.js'
import { Arrivals } from './arrivals.js'
import { pageElement } from './element.js'
import { Landing } from './landing.js'
import { LiveFeed } from './live-feed.js'
import { LivePanel } from './live-panel.js'
import { SearchView } from './search-view.js'

/**
 * @import { LiveEvent } from '../../schemas/http-operations.ts'
 * @import { Entry } from './search-session.js'
 */

const itemRequestMs = 10_000
const main = pageElement('main', HTMLElement)
const landingSection = pageElement('landing', HTMLElement)
const searchSection = pageElement('search', HTMLElement)
const arrivalsSection = pageElement('arrivals', HTMLElement)
const emptyIndex = pageElement('empty-index', HTMLElement)
const backButton = pageElement('back', HTMLButtonElement)

/** Searches of this visit by the number that the browser's history keeps. @type {Map<number, Entry>} */
const entries = new Map()

const landing = new Landing(photo => search.openPhoto(photo))
const panel = new LivePanel()
const arrivals = new Arrivals(pageElement('arrival-list', HTMLElement), arrival => search.openProduct(arrival))
const search = new SearchView({
  entered: remember,
  opened: showSearch,
  refused: error => {
    if (searchSection.hidden) landing.showProblem(error, () => search.retry())
    else search.showRefusal(error)
  },
})

backButton.addEventListener('click', () => history.back())
pageElement('new-photo', HTMLButtonElement).addEventListener('click', () => landing.choosePhoto())
pageElement('skip', HTMLAnchorElement).addEventListener('click', event => {
  // following the link would be a step in the history, which here means another search
  event.preventDefault()
  main.focus()
})
addEventListener('popstate', showWhereHistoryIs)
new LiveFeed({ news: showNews, offline: () => panel.showOffline() }).start()
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

function showSearch() {
  landing.clearProblem()
  landingSection.hidden = true
  searchSection.hidden = false
  main.focus({ preventScroll: true })
  scrollTo({ top: 0 })
}

function showLanding() {
  search.close()
  searchSection.hidden = true
  landingSection.hidden = false
}

function showWhereHistoryIs() {
  const entry = entries.get(history.state?.entry)
  if (entry === undefined) showLanding()
  else search.restore(entry)
}

/** `/?item=ID` opens on what looks like that product, so that such a search can be shared and reloaded. */
async function openAddress() {
  const itemId = new URLSearchParams(location.search).get('item')
  if (itemId === null) return
  try {
    const { title, blobs } = await item(itemId, AbortSignal.timeout(itemRequestMs))
    history.replaceState(null, '', '/')
    search.openProduct({ itemId, title, blob: blobs[0] ?? null })
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    landing.showProblem(error, openAddress)
  }
}

/** @param {LiveEvent} news */
function showNews(news) {
  panel.show(news)
  arrivals.add(news.recent)
  arrivalsSection.hidden = arrivals.isEmpty
  const { searchable, pending, failed } = news.status.items
  emptyIndex.hidden = !news.status.ready || searchable + pending + failed > 0
}

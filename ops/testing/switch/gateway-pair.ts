import { FreshetClient } from '../../../schemas/client.ts'
import { FreshetError } from '../../../schemas/errors.ts'

/** The connection of a call broke because the gateway it was made to had been killed. */
export class GatewayKilled extends Error {
  override readonly name = 'GatewayKilled'
}

/** Whether that is why a call of the client failed. */
export function wasCut(thrown: unknown): boolean {
  return thrown instanceof FreshetError && thrown.cause instanceof GatewayKilled
}

interface Gateway {
  readonly url: string
  kills: number
  /** Since it was killed it has not been ready again. */
  isAway: boolean
  /** A call to it has failed meanwhile: no more are made. */
  isOut: boolean
}

/**
 * Gateways behind one client, as a balancer has them: calls take turns. A call whose gateway was killed is made again to
 * another one, where it may be made twice; one that may not, or whose body is gone, fails with `wasCut`. Every other
 * failure is the caller's to see.
 */
export class GatewayPair {
  /** Its calls are made once each, but for those whose gateway was killed. */
  readonly client: FreshetClient
  readonly #gateways: ReadonlyMap<string, Gateway>
  #turn = 0
  #resent = 0
  #operated: string | null = null

  /** URLs by name. */
  constructor(urls: ReadonlyMap<string, string>) {
    const gateways = Array.from(urls, ([name, url]) => [name, { url, kills: 0, isAway: false, isOut: false }] as const)
    this.#gateways = new Map(gateways)
    this.client = new FreshetClient({ baseUrl: pairUrl, attempts: 1, fetch: (url, init) => this.#fetch(url, init) })
  }

  /** Calls that were made again to another gateway. */
  get resent(): number {
    return this.#resent
  }

  /** The gateway that has a step of the operator in hand. */
  get operated(): string | null {
    return this.#operated
  }

  has(name: string): boolean {
    return this.#gateways.has(name)
  }

  /** To be called right before it is killed. */
  killed(name: string): void {
    const gateway = this.#gateways.get(name)!
    gateway.kills++
    gateway.isAway = true
  }

  /** It is ready again. */
  isBack(name: string): void {
    Object.assign(this.#gateways.get(name)!, { isAway: false, isOut: false })
  }

  async #fetch(...[url, init]: Parameters<typeof fetch>): Promise<Response> {
    const path = String(url).slice(pairUrl.length)
    const isStep = path.startsWith(stepPath) && init?.method === 'POST'
    for (;;) {
      const [name, gateway] = this.#next()
      const { kills } = gateway
      const explained = (thrown: unknown): unknown => {
        if (init?.signal?.aborted || (!gateway.isAway && gateway.kills === kills)) return thrown
        gateway.isOut = gateway.isAway
        return new GatewayKilled(`${name} was killed`, { cause: thrown })
      }
      if (isStep) this.#operated = name
      const ended = () => {
        if (isStep && this.#operated === name) this.#operated = null
      }
      try {
        return await whole(await fetch(`${gateway.url}${path}`, init), { explained, ended })
      } catch (thrown) {
        ended()
        const failure = explained(thrown)
        if (!(failure instanceof GatewayKilled) || isStep || isStream(init?.body)) throw failure
        this.#resent++
      }
    }
  }

  #next(): readonly [string, Gateway] {
    const those = [...this.#gateways].filter(([, { isOut }]) => !isOut)
    const next = those[this.#turn++ % Math.max(1, those.length)]
    if (next === undefined) throw new Error('no gateway is left')
    return next
  }
}

/** No request is made to it: it stands for the gateway whose turn it is. */
const pairUrl = 'http://gateways.invalid'
const stepPath = '/v1/admin/'

const isStream = (body: unknown): boolean => typeof body === 'object' && body !== null && Symbol.asyncIterator in body

interface Watch {
  /** What a failure of the answer's body is thrown as. */
  readonly explained: (thrown: unknown) => unknown
  readonly ended: () => void
}

/** The answer with its body, so that one that breaks off fails here; lines are passed on as they come. */
async function whole(response: Response, { explained, ended }: Watch): Promise<Response> {
  const { body, status, headers } = response
  if (body === null || !headers.get('content-type')?.includes('ndjson')) {
    const bytes = await response.arrayBuffer()
    ended()
    return new Response(isEmptyStatus(status) ? null : bytes, { status, headers })
  }
  return new Response(ReadableStream.from(passedOn(body, { explained, ended })), { status, headers })
}

async function* passedOn(body: AsyncIterable<Uint8Array>, { explained, ended }: Watch): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (thrown) {
    throw explained(thrown)
  } finally {
    ended()
  }
}

const isEmptyStatus = (status: number): boolean => status === 204 || status === 304

import { type Static, Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import type { RecentItem } from '../../query-gateway/ports.ts'
import { requireSecret } from '../../shard-node/http/access.ts'
import type { SearchableItem } from '../../shard-node/shard-node-options.ts'
import { RecentItems } from '../recent-items.ts'

/** `GET ?generation=`: what became searchable last on the replica of this process, see `RecentAnswer`. */
export const recentPath = '/shard/v1/recent'

export const maxRecentItems = 40

export const RecentAnswer = Type.Object({
  /** Items that became searchable a second, over the last ten. */
  perSecond: Type.Number({ minimum: 0 }),
  /** Newest first. */
  items: Type.Array(
    Type.Object({
      itemId: Type.String({ maxLength: 512 }),
      title: Type.String({ maxLength: 4000 }),
      digest: Type.Union([Type.String({ pattern: '^[0-9a-f]{64}$' }), Type.Null()]),
      atMs: Type.Number(),
    }),
    { maxItems: maxRecentItems },
  ),
})
export type RecentAnswer = Static<typeof RecentAnswer>

/** Of each generation apart: a standby embeds the same items once more. */
export class RecentByGeneration {
  readonly #clock: () => number
  readonly #byGeneration = new Map<string, RecentItems>()

  constructor(clock: () => number) {
    this.#clock = clock
  }

  add(generation: string, items: readonly SearchableItem[]): void {
    const recent = this.#byGeneration.get(generation) ?? new RecentItems(this.#clock)
    this.#byGeneration.set(generation, recent)
    recent.add(items)
  }

  of(generation: string): { readonly perSecond: number; readonly items: RecentItem[] } {
    const recent = this.#byGeneration.get(generation)
    if (recent === undefined) return { perSecond: 0, items: [] }
    return { perSecond: recent.perSecond(), items: recent.list().slice(0, maxRecentItems) }
  }
}

const querystring = Type.Object({ generation: Type.String({ maxLength: 40 }) })

/** What gateways ask once a second of one replica of each shard, for the page and the status. */
export function recentRoutes(
  app: FastifyInstance,
  { recent, secret }: { readonly recent: RecentByGeneration; readonly secret: string | null },
): void {
  app.register(async scope => {
    requireSecret(scope, secret)
    scope.get<{ Querystring: Static<typeof querystring> }>(recentPath, { schema: { querystring } }, async request =>
      recent.of(request.query.generation),
    )
  })
}

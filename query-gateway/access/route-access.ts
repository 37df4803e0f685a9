import type { OpenablePart } from './access-options.ts'
import type { Role } from './api-key.ts'

/** Who may call a route: anyone, anyone where the part is open and else a reader, or those with the role. */
export type RouteAccess = 'anyone' | OpenablePart | Role

/** Reading, though it takes a body; what users did with results is told by the pages that show them. */
const readingPosts: ReadonlySet<string> = new Set(['/v1/search', '/v1/detect', '/v1/engagements'])
const probes: ReadonlySet<string> = new Set(['/healthz', '/readyz'])

/**
 * What a route asks of its caller, by its pattern. A new route of the API is readable with `read`, and everything that
 * changes something needs `write`, unless it is named here.
 *
 * A stored picture is found by the digest of its bytes alone, which only those know who have the picture or an answer
 * that shows it; so `<img>` can load it, which sends no key.
 */
export function routeAccess(method: string, pattern: string): RouteAccess {
  if (probes.has(pattern)) return 'anyone'
  if (pattern === '/metrics') return 'metrics'
  if (!pattern.startsWith('/v1/')) return 'page'
  if (pattern.startsWith('/v1/admin/')) return 'admin'
  const isReading = method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
  if (isReading && pattern === '/v1/blobs/:digest') return 'pictures'
  return isReading || readingPosts.has(pattern) ? 'read' : 'write'
}

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FreshetClient } from '../../schemas/client.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { BulkLine } from '../../schemas/http-items.ts'
import type { Status } from '../../schemas/http-operations.ts'
import { demoDirectory } from '../demo-catalog.ts'
import { type ServerProcess, type ServerProcessOptions, startServerProcess } from '../testing/server-process.ts'

/** A server on a data directory of its own, both gone when the body is done. */
export async function withServer<T>(
  options: Omit<ServerProcessOptions, 'dataDir'>,
  body: (server: ServerProcess, client: FreshetClient, dataDir: string) => Promise<T>,
): Promise<T> {
  return withScratch(async dataDir => {
    const env = { FRESHET_IMAGE_ROOTS: demoDirectory, FRESHET_LOG_LEVEL: 'warn', ...options.env }
    const server = await startServerProcess({ ...options, dataDir, env })
    try {
      return await body(server, new FreshetClient({ baseUrl: server.url }), dataDir)
    } finally {
      await server.stop()
    }
  })
}

export async function withScratch<T>(body: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'))
  try {
    return await body(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Polls the status until it fits; rarely, because asking costs the server too. */
export async function untilStatus(
  client: FreshetClient,
  fits: (status: Status) => boolean,
  { withinMs = 300_000, everyMs = 200 }: { readonly withinMs?: number; readonly everyMs?: number } = {},
): Promise<Status> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const status = await client.status()
    if (fits(status)) return status
    if (performance.now() > deadline)
      throw new Error(
        `not within ${withinMs} ms: ${JSON.stringify({ items: status.items, pipeline: status.pipeline })}`,
      )
    await new Promise(resolve => setTimeout(resolve, everyMs))
  }
}

/** In one bulk stream; the receipts in order. @throws FreshetError when a line is refused */
export async function publishAll(client: FreshetClient, lines: Iterable<BulkLine>): Promise<readonly string[]> {
  const receipts: string[] = []
  for await (const answer of client.bulk(lines)) {
    if ('error' in answer) throw new FreshetError(answer.error.code, answer.error.message)
    receipts.push(answer.receipt)
  }
  return receipts
}

export const note = (line: string): void => {
  process.stderr.write(`  ${line}\n`)
}

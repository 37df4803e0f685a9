import { isAbsolute } from 'node:path'
import { Type } from '@sinclair/typebox'
import { FreshetError } from '../schemas/errors.ts'
import {
  BackupAnswer,
  BackupRequest,
  DeadLetterDetail,
  DeadLetterList,
  DeadLetterQuery,
  Dropped,
  Redriven,
  SnapshotAnswer,
  SnapshotRequest,
} from '../schemas/http-operations.ts'
import { deadLetterDetail, deadLetterSummary } from './dead-letter-view.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { describeRoute } from './openapi.ts'

/** What operators do besides watching. */
export function adminRoutes(app: GatewayApp, { ports }: GatewayParts): void {
  const { deadLetters } = ports

  app.get('/v1/admin/dead-letters', { schema: listSchema }, async (request): Promise<DeadLetterList> => {
    const { after, limit = defaultPage } = request.query
    const { letters, next } = await deadLetters.list(after === undefined ? { limit } : { limit, after })
    return { deadLetters: letters.map(({ id, letter }) => deadLetterSummary(id, letter)), next }
  })

  app.get('/v1/admin/dead-letters/:id', { schema: showSchema }, async (request): Promise<DeadLetterDetail> => {
    const { id, letter } = await deadLetters.show(request.params.id)
    return deadLetterDetail(id, letter)
  })

  app.post('/v1/admin/dead-letters/:id/redrive', { schema: redriveSchema }, async (request): Promise<Redriven> => {
    const { id } = request.params
    return { redriven: id, outcome: await deadLetters.redrive(id) }
  })

  app.delete('/v1/admin/dead-letters/:id', { schema: dropSchema }, async (request): Promise<Dropped> => {
    await deadLetters.markHandled(request.params.id, 'dropped')
    return { dropped: request.params.id }
  })

  app.post('/v1/admin/backup', { schema: backupSchema }, async (request): Promise<BackupAnswer> => {
    const { directory } = request.body
    requireAbsolute(directory)
    const startedAt = performance.now()
    const { bytes } = await ports.backup(directory)
    return { directory, bytes, tookMs: performance.now() - startedAt }
  })

  app.post('/v1/admin/snapshots', { schema: snapshotSchema }, async (request): Promise<SnapshotAnswer> => {
    const { directory } = request.body
    requireAbsolute(directory)
    return { directory, shards: await ports.snapshot(request.body) }
  })
}

function requireAbsolute(directory: string): void {
  if (!isAbsolute(directory))
    throw new FreshetError('bad-request', 'directory: give an absolute path', { details: { field: 'directory' } })
}

const defaultPage = 100
const deadLetterParams = Type.Object({ id: Type.String({ maxLength: 64, examples: ['3-17'] }) })

const listSchema = describeRoute({
  tag: 'operate',
  operationId: 'listDeadLetters',
  summary: 'Dead letters: what could not be processed',
  querystring: DeadLetterQuery,
  response: { 200: DeadLetterList },
})

const showSchema = describeRoute({
  tag: 'operate',
  operationId: 'getDeadLetter',
  summary: 'One dead letter with its record and job',
  params: deadLetterParams,
  response: { 200: DeadLetterDetail },
})

const redriveSchema = describeRoute({
  tag: 'operate',
  operationId: 'redriveDeadLetter',
  summary: 'Run the job of a dead letter again',
  description: 'At its original version; the outcome says when that has become pointless.',
  params: deadLetterParams,
  response: { 200: Redriven },
})

const dropSchema = describeRoute({
  tag: 'operate',
  operationId: 'dropDeadLetter',
  summary: 'Forget a dead letter',
  params: deadLetterParams,
  response: { 200: Dropped },
})

const backupSchema = describeRoute({
  tag: 'operate',
  operationId: 'backup',
  summary: 'Copy the data directory while serving',
  body: BackupRequest,
  response: { 200: BackupAnswer },
})

const snapshotSchema = describeRoute({
  tag: 'operate',
  operationId: 'snapshot',
  summary: 'Write a snapshot of the shards while serving',
  description: 'A new replica of the shard starts from it and then follows the log.',
  body: SnapshotRequest,
  response: { 200: SnapshotAnswer },
})

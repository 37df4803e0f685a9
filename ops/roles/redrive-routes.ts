import type { FastifyInstance } from 'fastify'
import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { requireSecret } from '../../shard-node/http/access.ts'
import type { RedriveOutcome } from '../../topologies/dispatch/dispatch-state.ts'
import type { DispatchRunner } from '../../topologies/dispatch/runner.ts'

/** `POST`: a dead letter as its record has it, `application/octet-stream` → `{ "outcome": … }`. */
export const redrivePath = '/dispatch/v1/redrive'

export interface RedriveRoutesOptions {
  /** The dispatchers of this process; asked anew per request. */
  readonly runners: () => readonly Pick<DispatchRunner, 'status' | 'redrive'>[]
  readonly codec: Pick<RecordCodec<DeadLetter>, 'decode' | 'learn'>
  /** What gateways must show; null: everyone who reaches the address may ask. */
  readonly secret: string | null
}

/** What gateways ask of dispatchers. */
export function redriveRoutes(app: FastifyInstance, { runners, codec, secret }: RedriveRoutesOptions): void {
  app.register(async scope => {
    requireSecret(scope, secret)
    scope.removeAllContentTypeParsers()
    const parser = { parseAs: 'buffer' } as const
    scope.addContentTypeParser('application/octet-stream', parser, (_request, body, done) => done(null, body))
    scope.post(redrivePath, async (request): Promise<{ readonly outcome: RedriveOutcome }> => {
      const record = request.body as Buffer
      await codec.learn(record)
      const letter = codec.decode(record)
      return { outcome: await ownerOf(letter, runners()).redrive(letter) }
    })
  })
}

/** @throws FreshetError `not-ready` when the partition of the letter's job is another's now */
function ownerOf<Runner extends Pick<DispatchRunner, 'status'>>(
  { job }: DeadLetter,
  runners: readonly Runner[],
): Runner {
  const owner = runners.find(runner => {
    const { generation, partitions } = runner.status()
    return generation === job?.generation && partitions.some(({ partition }) => partition === job.partition)
  })
  if (owner !== undefined) return owner
  throw new FreshetError('not-ready', 'this dispatcher does not have the partition of the letter; ask again')
}

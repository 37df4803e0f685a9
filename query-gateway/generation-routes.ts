import { Readable } from 'node:stream'
import type { TSchema } from '@sinclair/typebox'
import type { FastifyReply } from 'fastify'
import {
  BuildAnswer,
  BuildRequest,
  EvidenceDocument,
  EvidenceParams,
  GenerationDetail,
  GenerationList,
  GenerationParams,
  ModelList,
  ModelRequest,
  ProofLine,
  ProofRequest,
  type ProofResult,
  RegisteredModel,
  ResumeRequest,
  RetireRequest,
  RollbackRequest,
  RouteRequest,
  StepAnswer,
  StepRequest,
} from '../schemas/http-generations.ts'
import { parseGeneration } from '../schemas/ids.ts'
import type { ApiKey } from './access/api-key.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { clientSignal } from './load/client-signal.ts'
import { describeRoute } from './openapi.ts'
import type { Decided, ProofWatch } from './ports.ts'
import { proofLines } from './proof-lines.ts'

const models = '/v1/admin/models'
const all = '/v1/admin/generations'
const one = `${all}/:generation`

/** What operators do with models and generations. */
export function generationRoutes(app: GatewayApp, { ports, draining }: GatewayParts): void {
  const desk = ports.generations

  app.get(models, { schema: modelsSchema }, async (): Promise<ModelList> => ({ models: await desk.models() }))

  app.post(
    models,
    { schema: registerSchema },
    async (request): Promise<RegisteredModel> => desk.registerModel(decided(request)),
  )

  app.get(all, { schema: listSchema }, async (): Promise<GenerationList> => ({ generations: await desk.list() }))

  app.post(all, { schema: buildSchema }, async (request): Promise<BuildAnswer> => desk.build(decided(request)))

  app.get(
    one,
    { schema: showSchema },
    async (request): Promise<GenerationDetail> => desk.show(parseGeneration(request.params.generation)),
  )

  app.get(`${one}/evidence/:digest`, { schema: evidenceSchema }, async (request, reply) => {
    const { generation, digest } = request.params
    // As it was recorded: whoever takes the SHA-256 of it gets the digest.
    return reply.type('application/json; charset=utf-8').send(await desk.evidence(parseGeneration(generation), digest))
  })

  const { pause, resume, route, rollback, retire } = stepSchemas
  app.post(
    `${one}/pause`,
    { schema: pause },
    async (request): Promise<StepAnswer> => desk.pause(parseGeneration(request.params.generation), decided(request)),
  )
  app.post(
    `${one}/resume`,
    { schema: resume },
    async (request): Promise<StepAnswer> => desk.resume(parseGeneration(request.params.generation), decided(request)),
  )
  app.post(
    `${one}/route`,
    { schema: route },
    async (request): Promise<StepAnswer> => desk.route(parseGeneration(request.params.generation), decided(request)),
  )
  app.post(
    `${one}/rollback`,
    { schema: rollback },
    async (request): Promise<StepAnswer> => desk.rollback(parseGeneration(request.params.generation), decided(request)),
  )
  app.post(
    `${one}/retire`,
    { schema: retire },
    async (request): Promise<StepAnswer> => desk.retire(parseGeneration(request.params.generation), decided(request)),
  )

  app.post(`${one}/verify`, { schema: verifySchema }, async (request, reply) => {
    const generation = parseGeneration(request.params.generation)
    return sendProof(reply, draining, watch => desk.verify(generation, decided(request), watch))
  })
  app.post(`${one}/canary`, { schema: canarySchema }, async (request, reply) => {
    const generation = parseGeneration(request.params.generation)
    return sendProof(reply, draining, watch => desk.canary(generation, decided(request), watch))
  })
}

interface Asked<Body> {
  readonly apiKey: ApiKey | null
  readonly body: Body
}

/** Who: whose key it is, and who they say they are. */
function decided<Body extends { readonly by?: string }>({ apiKey, body }: Asked<Body>): Decided<Body> {
  const { by } = body
  if (apiKey === null) return { ...body, by: by ?? 'unnamed' }
  return { ...body, by: by === undefined ? apiKey.name : `${by} (key ${apiKey.name})` }
}

/** As lines while it runs; what fails before it began fails as everywhere. A caller who goes away ends it. */
async function sendProof(
  reply: FastifyReply,
  draining: AbortSignal,
  run: (watch: ProofWatch) => Promise<ProofResult>,
): Promise<FastifyReply> {
  const signal = AbortSignal.any([clientSignal(reply), draining])
  const lines = proofLines(onProgress => run({ signal, onProgress }))
  const first = await lines.next()
  return reply
    .type('application/x-ndjson; charset=utf-8')
    .send(Readable.from(texts(first, lines), { objectMode: false }))
}

async function* texts(
  first: IteratorResult<ProofLine, void>,
  rest: AsyncGenerator<ProofLine, void>,
): AsyncGenerator<string> {
  if (first.done) return
  yield `${JSON.stringify(first.value)}\n`
  for await (const line of rest) yield `${JSON.stringify(line)}\n`
}

const modelsSchema = describeRoute({
  tag: 'operate',
  operationId: 'listModels',
  summary: 'Models that generations may be built with',
  response: { 200: ModelList },
})

const registerSchema = describeRoute({
  tag: 'operate',
  operationId: 'registerModel',
  summary: 'Register a model of the model store',
  description: 'Its name stands for its fingerprint from then on. Building a generation does it too.',
  body: ModelRequest,
  response: { 200: RegisteredModel },
})

const listSchema = describeRoute({
  tag: 'operate',
  operationId: 'listGenerations',
  summary: 'Generations, and what may be done with each',
  response: { 200: GenerationList },
})

const buildSchema = describeRoute({
  tag: 'operate',
  operationId: 'buildGeneration',
  summary: 'Build a generation beside the others',
  description: 'It reads the whole catalog, and from then on whatever comes. With `dryRun` only what it would take.',
  body: BuildRequest,
  response: { 200: BuildAnswer },
})

const showSchema = describeRoute({
  tag: 'operate',
  operationId: 'getGeneration',
  summary: 'A generation with its history',
  params: GenerationParams,
  response: { 200: GenerationDetail },
})

const evidenceSchema = describeRoute({
  tag: 'operate',
  operationId: 'getEvidence',
  summary: 'Evidence that a step stands on',
  description:
    'Of a verdict that was no only from the gateway that found it out. The SHA-256 of the body is its digest.',
  params: EvidenceParams,
  response: { 200: EvidenceDocument },
})

const step = <Body extends TSchema>(operationId: string, summary: string, body: Body, description?: string) =>
  describeRoute({
    tag: 'operate',
    operationId,
    summary,
    ...(description === undefined ? {} : { description }),
    params: GenerationParams,
    body,
    response: { 200: StepAnswer },
  })

const stepSchemas = {
  pause: step('pauseGeneration', 'Pause a rebuild', StepRequest, 'Live events go on.'),
  resume: step('resumeGeneration', 'Go on with a rebuild, or change its rate', ResumeRequest),
  route: step(
    'routeGeneration',
    'Change the shares of the queries',
    RouteRequest,
    'All gateways follow within a second. A certificate and a passed canary are needed, or an override.',
  ),
  rollback: step(
    'rollbackGeneration',
    'Give all queries back to the generation that was active before',
    RollbackRequest,
    'One control record. Refused while the index of that generation is too old, without `force`.',
  ),
  retire: step(
    'retireGeneration',
    'End a generation and free what it takes',
    RetireRequest,
    'Refused while it has queries; and before its warm time is over, without `force`.',
  ),
}

const proofResponse = {
  200: {
    description: 'lines of progress, the last one is the result',
    content: { 'application/x-ndjson': { schema: ProofLine } },
  },
}
const givenUp = 'A caller who goes away ends it, and nothing is recorded.'

const verifySchema = describeRoute({
  tag: 'operate',
  operationId: 'verifyGeneration',
  summary: 'Prove that a generation holds the same as another',
  description: `Once it has caught up with the catalog as it was when it began. ${givenUp}`,
  params: GenerationParams,
  body: ProofRequest,
  response: proofResponse,
})

const canarySchema = describeRoute({
  tag: 'operate',
  operationId: 'canaryGeneration',
  summary: 'Try a generation with queries whose answers are known',
  description: givenUp,
  params: GenerationParams,
  body: ProofRequest,
  response: proofResponse,
})

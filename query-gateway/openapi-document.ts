import { type ErrorCode, errorCodes, FreshetError } from '../schemas/errors.ts'
import { accessOf, failuresOf } from './operation-failures.ts'

type JsonObject = { readonly [key: string]: JsonValue }
type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject
type Schemas = Map<string, JsonObject>

const componentKey = 'x-component'
const examplesKey = 'x-component-examples'
const referenceStart = '#/components/schemas/'

/** The generator drops `$id` and moves examples: what a shape is called, and its examples, go under keys of ours. */
export function markComponents(schema: unknown): unknown {
  return rewritten(schema as JsonValue, ({ $id, ...rest }) => {
    if ($id === undefined) return rest
    const { examples, ...shape } = rest
    return { ...shape, [componentKey]: $id, ...(examples === undefined ? {} : { [examplesKey]: examples }) }
  })
}

/**
 * What the generator made of the routes as the document that is served: shapes with a name said once, as components;
 * each operation with its failures, who may call it, and an example of each body.
 */
export function completeDocument(generated: object): object {
  const schemas: Schemas = new Map()
  const document = rewritten(generated as JsonValue, ({ [componentKey]: name, [examplesKey]: examples, ...rest }) => {
    if (typeof name !== 'string') return rest
    schemas.set(name, examples === undefined ? rest : { ...rest, examples })
    return { $ref: `${referenceStart}${name}` }
  }) as JsonObject
  giveExamples(schemas)
  const paths = Object.entries(document.paths as JsonObject).map(([path, methods]) => {
    const operations = Object.entries(methods as JsonObject)
    return [path, Object.fromEntries(operations.map(each => [each[0], operationOf(path, each, schemas)]))] as const
  })
  return {
    ...document,
    paths: Object.fromEntries(paths),
    components: { schemas: Object.fromEntries(schemas), securitySchemes: { apiKey } },
  }
}

const apiKey = {
  type: 'http',
  scheme: 'bearer',
  description: 'An API key, where the server asks who calls: one bound to loopback may not.',
}

function operationOf(path: string, [method, value]: readonly [string, JsonValue], schemas: Schemas): JsonValue {
  const operation = value as JsonObject
  const described = { operationId: operation.operationId as string, method: method.toUpperCase(), path }
  const access = accessOf(described)
  const { default: error, ...successes } = operation.responses as JsonObject
  const responses = mapped(successes, answer => withExamples(answer as JsonObject, schemas))
  const failures = failureResponses(failuresOf(described), error as JsonObject)
  const body = operation.requestBody as JsonObject | undefined
  return {
    ...operation,
    ...(body === undefined ? {} : { requestBody: withExamples(body, schemas) }),
    responses: { ...responses, ...failures, default: withExamples(error as JsonObject, schemas) },
    security: access === 'anyone' ? [] : [{ apiKey: [] }, {}],
    ...(access === 'anyone' ? {} : { 'x-role': ['read', 'write', 'admin'].includes(access) ? access : 'read' }),
  }
}

/** A response for each status, with an example for each code. */
function failureResponses(codes: readonly ErrorCode[], error: JsonObject): JsonObject {
  const { schema } = (error.content as JsonObject)['application/json'] as JsonObject
  const byStatus = Map.groupBy(codes, code => errorCodes[code].httpStatus)
  const responses = Array.from(byStatus, ([status, ofStatus]) => {
    const examples = ofStatus.map(code => [code, { value: exampleOf(code) }] as const)
    return [
      status,
      {
        description: ofStatus.map(code => `\`${code}\`: ${errorCodes[code].operator}`).join('\n\n'),
        ...(ofStatus.some(code => pausing.has(code)) ? { headers: { 'Retry-After': retryAfter } } : {}),
        content: { 'application/json': { schema: schema!, examples: Object.fromEntries(examples) } },
      },
    ] as const
  })
  return Object.fromEntries(responses)
}

/** Codes whose answers say how long to wait. */
const pausing: ReadonlySet<ErrorCode> = new Set(['overloaded', 'not-ready', 'rate-limited'])
const retryAfter = { description: 'seconds to wait before the next attempt', schema: { type: 'integer', minimum: 0 } }

function exampleOf(code: ErrorCode): JsonValue {
  const { operator } = errorCodes[code]
  return JSON.parse(JSON.stringify(new FreshetError(code, operator).toBody())) as JsonValue
}

/** With an example of each JSON or NDJSON body, from its shape. */
function withExamples(part: JsonObject, schemas: Schemas): JsonObject {
  if (part.content === undefined) return part
  const content = mapped(part.content as JsonObject, media => {
    const { schema } = media as JsonObject
    const example = schema === undefined ? undefined : exampleOfSchema(schema as JsonObject, schemas)
    const isGiven = (media as JsonObject).examples !== undefined
    return example === undefined || isGiven ? media : { ...(media as JsonObject), example }
  })
  return { ...part, content }
}

function exampleOfSchema(schema: JsonObject, schemas: Schemas): JsonValue | undefined {
  const [own] = (schema.examples ?? []) as readonly JsonValue[]
  if (own !== undefined) return own
  const named = componentOf(schema, schemas)
  if (named !== undefined) return exampleOfSchema(named, schemas)
  const [first] = (schema.anyOf ?? []) as readonly JsonObject[]
  return first === undefined ? undefined : exampleOfSchema(first, schemas)
}

/** A part of a shape that has no example of its own gets what stands in its place in that of the whole. */
function giveExamples(schemas: Schemas): void {
  for (const [, schema] of [...schemas])
    for (const example of (schema.examples ?? []) as readonly JsonValue[]) handDown(schema, example, schemas)
}

function handDown(schema: JsonObject, value: JsonValue, schemas: Schemas): void {
  const { properties = {}, patternProperties = {}, items, anyOf = [] } = schema as Record<string, JsonObject>
  if (Array.isArray(value)) {
    if (items !== undefined) for (const each of value) handDownTo(items, each, schemas)
  } else if (value !== null && typeof value === 'object') {
    const [ofRecord] = Object.values(patternProperties)
    for (const [name, each] of Object.entries(value as JsonObject)) {
      const property = (properties as JsonObject)[name] ?? ofRecord
      if (property !== undefined) handDownTo(property as JsonObject, each, schemas)
    }
  }
  const branches = (anyOf as unknown as readonly JsonObject[]).filter(({ type }) => type !== 'null')
  if (value !== null && branches.length === 1) handDownTo(branches[0]!, value, schemas)
}

function handDownTo(part: JsonObject, value: JsonValue, schemas: Schemas): void {
  const named = componentOf(part, schemas)
  if (named === undefined) handDown(part, value, schemas)
  if (named === undefined || named.examples !== undefined) return
  const withExample = { ...named, examples: [value] }
  schemas.set(nameOf(part)!, withExample)
  handDown(withExample, value, schemas)
}

function componentOf(schema: JsonObject, schemas: Schemas): JsonObject | undefined {
  const name = nameOf(schema)
  return name === undefined ? undefined : schemas.get(name)
}

function nameOf({ $ref }: JsonObject): string | undefined {
  return typeof $ref === 'string' ? $ref.slice(referenceStart.length) : undefined
}

function mapped(object: JsonObject, change: (value: JsonValue) => JsonValue): JsonObject {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]))
}

/** Objects from the inside out. */
function rewritten(value: JsonValue, change: (object: JsonObject) => JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(child => rewritten(child, change))
  if (value === null || typeof value !== 'object') return value
  return change(Object.fromEntries(Object.entries(value).map(([key, child]) => [key, rewritten(child, change)])))
}

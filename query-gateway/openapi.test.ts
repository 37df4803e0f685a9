import { KindGuard, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as generationShapes from '../schemas/http-generations.ts'
import * as itemShapes from '../schemas/http-items.ts'
import * as operationShapes from '../schemas/http-operations.ts'
import * as searchShapes from '../schemas/http-search.ts'
import { ErrorShape } from '../schemas/http-shape.ts'
import { particularOperations } from './operation-failures.ts'
import { type GatewayFixture, openGateway } from './testing/gateway-fixture.ts'
import { openApiStructure } from './testing/openapi-structure.ts'

interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required: boolean }[]
  readonly requestBody?: { readonly content: Content }
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Content }>>
}

type Content = Readonly<Record<string, MediaType>>

interface MediaType {
  readonly schema: object
  readonly example?: unknown
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>
}

interface OpenApiDocument {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, object>> }
}

let gateway: GatewayFixture
let document: OpenApiDocument
let routes: readonly string[]

beforeAll(async () => {
  gateway = await openGateway()
  document = (await gateway.app.inject('/openapi.json')).json()
  routes = routesIn(gateway.app.printRoutes({ commonPrefix: false }))
})

afterAll(() => gateway.close())

/** `METHOD /path` of each line of the router's tree. */
function routesIn(tree: string): readonly string[] {
  const parents: string[] = []
  return tree.split('\n').flatMap(line => {
    const match = /^([│ ]*)(?:├──|└──) (\S+)(?: \(([A-Z, ]+)\))?/.exec(line)
    if (!match) return []
    const depth = match[1]!.length / 4
    parents.length = depth
    parents.push(match[2]!)
    const path = parents.join('')
    return (match[3] ?? '')
      .split(', ')
      .filter(method => method !== '')
      .map(method => `${method} ${path}`)
  })
}

let ajv: Ajv2020 | null = null

/** What is wrong with a value by a schema of the document. */
function misfits(schema: object, value: unknown): readonly unknown[] {
  // Schemas have annotations of OpenAPI; formats name kinds of bytes, which JSON does not have.
  ajv ??= new Ajv2020({ strict: false, validateFormats: false, allErrors: true }).addSchema(document, 'document')
  const pointed = JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"document#/components')) as object
  const isValid = ajv.compile(pointed)
  isValid(value)
  return isValid.errors ?? []
}

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )

describe('the document', () => {
  test('is OpenAPI 3.1 and says of each operation what a client needs', () => {
    expect(document.openapi).toMatch(/^3\.1\./)
    expect(document.info).toMatchObject({ title: 'Freshet', version: '1' })
    for (const { path, operation } of operations()) {
      expect(operation.summary, path).toBeTruthy()
      expect(operation.tags, path).toHaveLength(1)
      expect(operation.responses, path).toHaveProperty('default')
      const inPath = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name)
      const described = (operation.parameters ?? []).filter(parameter => parameter.in === 'path')
      expect(
        described.map(({ name }) => name),
        path,
      ).toEqual(inPath)
      expect(
        described.every(({ required }) => required),
        path,
      ).toBe(true)
      for (const response of Object.values(operation.responses)) expect(response.description, path).toBeTruthy()
    }
    const ids = operations().map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('has the structure that the specification asks for', () => {
    const isWhole = new Ajv2020({
      strict: true,
      strictRequired: false,
      allowUnionTypes: true,
      validateFormats: false,
    }).compile(openApiStructure)
    isWhole(document)
    expect(isWhole.errors ?? []).toEqual([])
  })

  test('has shapes that are JSON Schema, each with an example that fits', () => {
    for (const [name, schema] of Object.entries(document.components.schemas)) {
      const { examples = [] } = schema as { readonly examples?: readonly unknown[] }
      expect(examples.length, name).toBeGreaterThan(0)
      for (const example of examples)
        expect(misfits({ $ref: `#/components/schemas/${name}` }, example), name).toEqual([])
    }
  })

  test('has an example of each JSON body and answer, and each fits its shape', () => {
    for (const { path, operation } of operations())
      for (const { content = {} } of [operation.requestBody ?? {}, ...Object.values(operation.responses)])
        for (const [type, { schema, example, examples = {} }] of Object.entries(content as Content)) {
          const given = [
            ...(example === undefined ? [] : [example]),
            ...Object.values(examples).map(each => each.value),
          ]
          if (/json|form-data/.test(type)) expect(given.length, `${path} ${type}`).toBeGreaterThan(0)
          for (const each of given) expect(misfits(schema, each), `${path} ${type}`).toEqual([])
        }
  })

  test('says of each operation with which codes it fails, by status', () => {
    const ids = operations().map(({ operation }) => operation.operationId)
    expect(ids).toEqual(expect.arrayContaining([...particularOperations]))
    const { responses } = document.paths['/v1/items/{id}']!.put!
    expect(Object.keys(responses)).toEqual(expect.arrayContaining(['202', '400', '401', '403', '422', '429', '503']))
    expect(responses['400']!.description).toContain('`image-missing`')
    for (const { path, operation } of operations())
      for (const [status, { content = {} }] of Object.entries(operation.responses))
        if (/^[45]/.test(status)) expect(content, `${path} ${status}`).toHaveProperty('application/json')
  })

  test('has every route of the API, and no other', () => {
    const undocumented = ['/openapi.json', '/', '/*', '*']
    const served = routes
      .filter(route => !route.startsWith('HEAD') && !undocumented.includes(route.split(' ')[1]!))
      .map(route => route.replace(/:(\w+)/g, '{$1}'))
    const documented = operations().map(({ path, method }) => `${method.toUpperCase()} ${path}`)
    expect(documented.toSorted()).toEqual(served.toSorted())
    expect(documented.length).toBeGreaterThan(20)
  })

  test('refers to components that exist, and leaves none unused', () => {
    const text = JSON.stringify(document)
    const referred = new Set(Array.from(text.matchAll(/"#\/components\/schemas\/([^"]+)"/g), ([, name]) => name))
    expect(referred).toEqual(new Set(Object.keys(document.components.schemas)))
    expect(text).not.toMatch(/x-component/)
    expect(text).not.toContain('def-')
  })

  test('names the content types that a body may have', () => {
    expect(Object.keys(document.paths['/v1/search']!.post!.requestBody!.content)).toEqual([
      'application/json',
      'multipart/form-data',
    ])
    expect(Object.keys(document.paths['/v1/items']!.post!.requestBody!.content)).toEqual(['application/x-ndjson'])
  })
})

const exported: readonly (readonly [string, unknown])[] = Object.entries({
  ...itemShapes,
  ...searchShapes,
  ...operationShapes,
  ...generationShapes,
  ErrorShape,
})
const withExamples = exported.flatMap(([name, shape]): (readonly [string, TSchema])[] =>
  KindGuard.IsSchema(shape) && shape.examples !== undefined ? [[name, shape]] : [],
)

test.each(withExamples)('the examples of %s have its shape', (_name, shape) => {
  for (const example of shape.examples as readonly unknown[])
    expect([...Value.Errors(shape, example)].map(({ path, message }) => `${path}: ${message}`)).toEqual([])
})

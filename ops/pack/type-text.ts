import { KindGuard, type TSchema } from '@sinclair/typebox'
import { ErrorCodeShape } from '../../schemas/http-shape.ts'

/** JSON Schema as the shapes of the HTTP API use it. */
interface Shape {
  readonly $id?: string
  readonly description?: string
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Shape[]
  readonly properties?: Readonly<Record<string, Shape>>
  readonly patternProperties?: Readonly<Record<string, Shape>>
  readonly required?: readonly string[]
  readonly items?: Shape
  readonly minItems?: number
  readonly maxItems?: number
}

const longestTuple = 4

/**
 * TypeScript declarations of the shapes that modules export, and of every named part of them. The package's own types
 * are derived from the shapes by the shape library; these say the same without it, so that the client needs no package.
 */
export function declarations(modules: readonly object[]): string {
  const declared = new Map<string, Shape>()
  for (const [name, value] of modules.flatMap(module => Object.entries(module))) {
    if (!KindGuard.IsSchema(value)) continue
    const shape = value as TSchema & Shape
    if (isTypeName(name)) declare(shape.$id ?? name, shape, declared)
  }
  for (const shape of [...declared.values()]) declareParts(shape, declared)
  const types = [...declared].map(([name, shape]) => declaration(name, shape))
  return `import type { ErrorCode } from './errors.js'\n\n${types.join('\n\n')}\n`
}

/** Shapes are values and types of one name, with a capital; a few that are parts of others have no type. */
function isTypeName(name: string): boolean {
  return /^[A-Z]/.test(name) && !name.endsWith('Shape')
}

function declare(name: string, shape: Shape, declared: Map<string, Shape>): void {
  const known = declared.get(name)
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(shape))
    throw new TypeError(`two shapes of the HTTP API are called ${name}`)
  declared.set(name, shape)
}

function declareParts(shape: Shape, declared: Map<string, Shape>): void {
  const { anyOf = [], properties = {}, patternProperties = {}, items } = shape
  const parts = [...anyOf, ...Object.values(properties), ...Object.values(patternProperties), ...(items ? [items] : [])]
  for (const part of parts) {
    const isNew = part.$id !== undefined && !declared.has(part.$id)
    if (part.$id !== undefined) declare(part.$id, part, declared)
    if (part.$id === undefined || isNew) declareParts(part, declared)
  }
}

function declaration(name: string, shape: Shape): string {
  const text = `export type ${name} = ${bodyText(shape, '')}`
  return shape.description === undefined ? text : `${comment(shape.description, '')}${text}`
}

function typeText(shape: Shape, indent: string): string {
  return shape.$id ?? bodyText(shape, indent)
}

function bodyText(shape: Shape, indent: string): string {
  if (shape.const !== undefined) return JSON.stringify(shape.const)
  if (shape.enum !== undefined) return enumText(shape.enum)
  if (shape.anyOf !== undefined) return shape.anyOf.map(each => typeText(each, indent)).join(' | ')
  switch (shape.type) {
    case 'object':
      return objectText(shape, indent)
    case 'array':
      return arrayText(shape, indent)
    case 'integer':
    case 'number':
      return 'number'
    case 'string':
    case 'boolean':
    case 'null':
      return shape.type
    case undefined:
      return 'unknown'
    default:
      throw new TypeError(`a shape of the HTTP API has the type ${shape.type}`)
  }
}

function enumText(values: readonly unknown[]): string {
  const isOfCodes = JSON.stringify(values) === JSON.stringify((ErrorCodeShape as Shape).enum)
  return isOfCodes ? 'ErrorCode' : values.map(value => JSON.stringify(value)).join(' | ')
}

function objectText({ properties, patternProperties, required = [] }: Shape, indent: string): string {
  if (properties === undefined) {
    const [values = {}] = Object.values(patternProperties ?? {})
    return `Readonly<Record<string, ${typeText(values, indent)}>>`
  }
  const inner = `${indent}  `
  const fields = Object.entries(properties).map(([name, shape]) => {
    const note = shape.description === undefined ? '' : comment(shape.description, inner)
    return `${note}${inner}readonly ${name}${required.includes(name) ? '' : '?'}: ${typeText(shape, inner)}`
  })
  return `{\n${fields.join('\n')}\n${indent}}`
}

function arrayText({ items = {}, minItems, maxItems }: Shape, indent: string): string {
  const item = typeText(items, indent)
  const isTuple = minItems !== undefined && minItems === maxItems && minItems <= longestTuple
  if (isTuple) return `readonly [${Array.from({ length: minItems }, () => item).join(', ')}]`
  return /[ |{]/.test(item) ? `readonly (${item})[]` : `readonly ${item}[]`
}

function comment(text: string, indent: string): string {
  return `${indent}/** ${text.replaceAll('*/', '* /')} */\n`
}

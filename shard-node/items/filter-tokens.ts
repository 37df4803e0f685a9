import type { AttributeValue } from '../../schemas/catalog-event.ts'
import { EncodedText } from './encoded-text.ts'
import type { AttributesContent, ObjectsContent } from './registers.ts'

/**
 * What an item is filtered and found by, as 32-bit hashes: its category, each region, each attribute with its value,
 * and the images it refers to. The first letter tells which. Two different texts share a token once in 2^32.
 */
const text = new EncodedText()
const blobPrefix = 'blob:'

export function categoryToken(category: string): number {
  return text.encode(`c${category}`).hash()
}

export function regionToken(region: string): number {
  return text.encode(`r${region}`).hash()
}

/** Values are compared with their type: 4 is not '4'. */
export function attributeToken(name: string, value: AttributeValue): number {
  return text.encode(`a${name}\0${typeof value}\0${value}`).hash()
}

export function imageToken(digest: string): number {
  return text.encode(`i${digest}`).hash()
}

export function tokensOfAttributes(content: AttributesContent): number[] {
  const tokens = [categoryToken(content.category)]
  for (const region of content.regions) tokens.push(regionToken(region))
  for (const name of Object.keys(content.attributes)) tokens.push(attributeToken(name, content.attributes[name]!))
  for (const image of content.images)
    if (image.startsWith(blobPrefix)) tokens.push(imageToken(image.slice(blobPrefix.length)))
  return tokens
}

export function tokensOfObjects(content: ObjectsContent): number[] {
  return content.imageDigests.map(imageToken)
}

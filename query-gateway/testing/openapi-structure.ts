/**
 * What OpenAPI 3.1.0 asks of the objects that our document uses, as JSON Schema 2020-12. Stricter than the
 * specification where that is our rule: each operation has an id, a summary, one tag, and failures as JSON. Objects
 * that we do not use, such as callbacks and links, are not allowed here.
 */
export const openApiStructure = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  required: ['openapi', 'info', 'paths', 'components'],
  additionalProperties: false,
  properties: {
    openapi: { type: 'string', pattern: '^3\\.1\\.\\d+$' },
    info: { $ref: '#/$defs/info' },
    tags: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'description'],
        additionalProperties: false,
        properties: { name: { type: 'string' }, description: { type: 'string', minLength: 1 } },
      },
    },
    paths: {
      type: 'object',
      additionalProperties: false,
      patternProperties: { '^/': { $ref: '#/$defs/pathItem' } },
    },
    components: {
      type: 'object',
      additionalProperties: false,
      properties: {
        schemas: {
          type: 'object',
          additionalProperties: { $ref: '#/$defs/schema' },
          propertyNames: { pattern: '^[a-zA-Z0-9._-]+$' },
        },
        securitySchemes: { type: 'object', additionalProperties: { $ref: '#/$defs/securityScheme' } },
      },
    },
  },
  $defs: {
    info: {
      type: 'object',
      required: ['title', 'version'],
      additionalProperties: false,
      properties: {
        title: { type: 'string', minLength: 1 },
        version: { type: 'string', minLength: 1 },
        description: { type: 'string' },
        license: {
          type: 'object',
          required: ['name'],
          additionalProperties: false,
          properties: { name: { type: 'string' }, url: { type: 'string' }, identifier: { type: 'string' } },
          not: { required: ['url', 'identifier'] },
        },
      },
    },
    pathItem: {
      type: 'object',
      additionalProperties: false,
      patternProperties: { '^(get|put|post|delete|patch|options|head|trace)$': { $ref: '#/$defs/operation' } },
    },
    operation: {
      type: 'object',
      required: ['operationId', 'summary', 'tags', 'responses', 'security'],
      additionalProperties: false,
      properties: {
        operationId: { type: 'string', pattern: '^[a-z][a-zA-Z]+$' },
        summary: { type: 'string', minLength: 1 },
        description: { type: 'string', minLength: 1 },
        tags: { type: 'array', minItems: 1, maxItems: 1, items: { type: 'string' } },
        parameters: { type: 'array', items: { $ref: '#/$defs/parameter' } },
        requestBody: { $ref: '#/$defs/requestBody' },
        responses: {
          type: 'object',
          required: ['default', '400', '500'],
          additionalProperties: false,
          patternProperties: { '^([1-5][0-9][0-9]|default)$': { $ref: '#/$defs/response' } },
        },
        security: { type: 'array', items: { $ref: '#/$defs/securityRequirement' } },
        'x-role': { enum: ['read', 'write', 'admin'] },
      },
    },
    parameter: {
      type: 'object',
      required: ['name', 'in', 'schema'],
      additionalProperties: false,
      properties: {
        name: { type: 'string' },
        in: { enum: ['path', 'query', 'header'] },
        required: { type: 'boolean' },
        description: { type: 'string' },
        schema: { $ref: '#/$defs/schema' },
        example: true,
        examples: { $ref: '#/$defs/examples' },
      },
      if: { properties: { in: { const: 'path' } } },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
      then: { required: ['required'], properties: { required: { const: true } } },
    },
    requestBody: {
      type: 'object',
      required: ['content'],
      additionalProperties: false,
      properties: {
        description: { type: 'string' },
        required: { type: 'boolean' },
        content: { $ref: '#/$defs/content' },
      },
    },
    response: {
      type: 'object',
      required: ['description'],
      additionalProperties: false,
      properties: {
        description: { type: 'string', minLength: 1 },
        headers: {
          type: 'object',
          additionalProperties: {
            type: 'object',
            required: ['schema'],
            additionalProperties: false,
            properties: { description: { type: 'string' }, schema: { $ref: '#/$defs/schema' } },
          },
        },
        content: { $ref: '#/$defs/content' },
      },
    },
    content: {
      type: 'object',
      minProperties: 1,
      propertyNames: { pattern: '^[a-z]+/[a-z*.+-]+$' },
      additionalProperties: {
        type: 'object',
        required: ['schema'],
        additionalProperties: false,
        properties: {
          schema: { $ref: '#/$defs/schema' },
          example: true,
          examples: { $ref: '#/$defs/examples' },
        },
        not: { required: ['example', 'examples'] },
      },
    },
    examples: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        required: ['value'],
        additionalProperties: false,
        properties: { summary: { type: 'string' }, value: true },
      },
    },
    securityScheme: {
      type: 'object',
      required: ['type', 'scheme'],
      additionalProperties: false,
      properties: { type: { const: 'http' }, scheme: { const: 'bearer' }, description: { type: 'string' } },
    },
    securityRequirement: {
      type: 'object',
      additionalProperties: { type: 'array', items: { type: 'string' } },
    },
    schema: { $ref: 'https://json-schema.org/draft/2020-12/schema' },
  },
} as const

/** What `dist/client` holds besides compiled modules: the texts that make it a package. */

interface RootManifest {
  readonly version: string
  readonly license: string
}

const entry = { types: './index.d.ts', default: './index.js' }

/** `package.json` of the client, from that of the whole. It depends on nothing. */
export function clientManifest(rootManifest: string): string {
  const { version, license } = JSON.parse(rootManifest) as RootManifest
  const manifest = {
    name: 'freshet-client',
    version,
    description: 'Typed client of the HTTP API of Freshet, a visual-search index that is never stale.',
    license,
    type: 'module',
    sideEffects: false,
    engines: { node: '>=20.3' },
    exports: { '.': entry, './package.json': './package.json' },
  }
  return `${JSON.stringify(manifest, null, 2)}\n`
}

interface Exported {
  readonly values: readonly string[]
  readonly types: readonly string[]
}

/** What the entry of the package hands on, by module. */
const handedOn: Readonly<Record<string, Exported>> = {
  './client.js': { values: ['FreshetClient'], types: ['ProofProgress', 'WaitOptions'] },
  './client-streams.js': { values: [], types: ['BulkLines'] },
  './client-transport.js': { values: [], types: ['CallOptions', 'ClientOptions'] },
  './errors.js': {
    values: ['asFreshetError', 'errorCodes', 'FreshetError', 'isErrorCode'],
    types: ['ErrorBody', 'ErrorCode'],
  },
}

export const indexScript: string = Object.entries(handedOn)
  .filter(([, { values }]) => values.length > 0)
  .map(([module, { values }]) => `export { ${values.join(', ')} } from '${module}'\n`)
  .join('')

export const indexTypes: string = [
  ...Object.entries(handedOn).map(([module, { values, types }]) => {
    const names = [...values, ...types.map(name => `type ${name}`)]
    return `export { ${names.join(', ')} } from '${module}'\n`
  }),
  `export type * from './types.js'\n`,
].join('')

export const clientReadme = `# Freshet client

The HTTP API of Freshet, a visual-search index that is never stale, as typed functions.
For Node 20.3 or newer and, but for streams, for browsers. No dependencies.

\`\`\`js
import { FreshetClient, FreshetError } from 'freshet-client'

const client = new FreshetClient({ baseUrl: 'http://127.0.0.1:7480', apiKey: process.env.FRESHET_API_KEY })

await client.publishAndWait({ itemId: 'my-chair', images: ['https://example.org/chair.jpg'], title: 'My chair' })

try {
  const { results } = await client.search({ image: { itemId: 'my-chair' }, k: 5 }, { timeoutMs: 2_000 })
  for (const { itemId, similarity } of results) console.log(itemId, similarity)
} catch (error) {
  if (error instanceof FreshetError) console.error(error.code, error.retryable, error.message)
}
\`\`\`

Every call takes \`{ signal, timeoutMs, attempts }\` last. What may pass is tried again, three times in all, with the pause
that the server asks for; a call that took too long has the code \`timeout\`. Many items go as one stream, answered line by
line:

\`\`\`js
for await (const answer of client.bulk(items)) {
  if ('error' in answer) console.error(answer.line, answer.error.code)
}
\`\`\`
`

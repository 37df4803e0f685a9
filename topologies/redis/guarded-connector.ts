import { createRequire } from 'node:module'
import type standalone from 'ioredis/built/connectors/StandaloneConnector.js'

/** Not exported by name; loaded as the CommonJS it is, since loaders differ in what a default import of that gives. */
const { default: StandaloneConnector } = createRequire(import.meta.url)(
  'ioredis/built/connectors/StandaloneConnector.js',
) as typeof standalone

type Options = ConstructorParameters<typeof StandaloneConnector>[0]
type Connecting = Parameters<InstanceType<typeof StandaloneConnector>['connect']>

/**
 * The client library hears the first error of a socket only. A second one, such as the answer of a server to a
 * handshake that we have refused, would end the process.
 */
export class GuardedConnector extends StandaloneConnector {
  constructor(options: unknown) {
    super(options as Options)
  }

  override async connect(...args: Connecting) {
    const stream = await super.connect(...args)
    stream.on('error', () => {})
    return stream
  }
}

import { Agent } from 'node:https'
import type { Compatibility, SchemaRegistryClient } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js'
import { incompatibilities } from '../../schemas/avro/compatibility.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { Subject } from '../../schemas/topics.ts'
import { incompatibleSchema, isSameSchema, type RegisteredSchema, type SchemaRegistry } from '../schema-registry.ts'
import { accessFailure, isRefusal, isUnknownToRegistry } from './registry-failure.ts'

/** Texts in PEM form. */
export interface RegistryTls {
  /** Authorities to trust instead of the system's. */
  readonly ca?: string
  /** Certificate and key of this client. */
  readonly cert?: string
  readonly key?: string
}

export interface ConfluentRegistryOptions {
  /** Base addresses, asked in this order until one answers. Apicurio's end in `/apis/ccompat/v7`. */
  readonly urls: readonly string[]
  /** Basic authentication. */
  readonly username?: string
  readonly password?: string
  /** Sent as `Authorization: Bearer`, instead of user and password. */
  readonly bearerToken?: string
  readonly tls?: RegistryTls
  /** Of one request; each is sent twice at most. */
  readonly timeoutMs: number
}

type SchemaById = Pick<RegisteredSchema, 'id' | 'schema'>

interface Endpoint {
  /** For messages: without credentials. */
  readonly url: string
  readonly client: SchemaRegistryClient
}

/** The value of the package's enum, which is loaded late. */
const fullTransitive = 'FULL_TRANSITIVE' as Compatibility

/**
 * Any registry that speaks Confluent's protocol. What fits is decided here, by the rules of the embedded registry,
 * which give reasons where servers give none; the server's own rule is set to FULL_TRANSITIVE as well, so that it
 * refuses other producers' schemas too.
 *
 * The vendor's package is loaded at the first call.
 */
export class ConfluentSchemaRegistry implements SchemaRegistry {
  readonly #options: ConfluentRegistryOptions
  readonly #agent: Agent
  #endpoints: Promise<readonly Endpoint[]> | null = null
  /** An id stands for one schema for ever. Failures are not kept. */
  readonly #byId = new Map<number, Promise<SchemaById>>()
  /** Registrations one after another: each reads the versions before it writes the next. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: ConfluentRegistryOptions) {
    this.#options = options
    this.#agent = new Agent({ keepAlive: true, ...options.tls })
  }

  register(subject: Subject, schema: string): Promise<RegisteredSchema> {
    const registered = this.#last.then(() => this.#register(subject, schema))
    this.#last = registered.catch(() => undefined)
    return registered
  }

  async check(subject: Subject, schema: string): Promise<readonly string[]> {
    return incompatibilities(schema, await this.versions(subject))
  }

  byId(id: number): Promise<SchemaById> {
    const known = this.#byId.get(id)
    if (known) return known
    const fetched = this.#fetchById(id)
    this.#byId.set(id, fetched)
    fetched.catch(() => this.#byId.delete(id))
    return fetched
  }

  async versions(subject: Subject): Promise<readonly RegisteredSchema[]> {
    const numbers = await this.#versionNumbers(subject)
    return Promise.all(
      numbers
        .toSorted((a, b) => a - b)
        .map(async version => {
          const { id, schema } = await this.#ask(client => client.getSchemaMetadata(subject, version))
          return { id: id!, subject, version, schema }
        }),
    )
  }

  async close(): Promise<void> {
    await this.#last
    this.#agent.destroy()
  }

  async #register(subject: Subject, schema: string): Promise<RegisteredSchema> {
    const versions = await this.versions(subject)
    const known = versions.find(version => isSameSchema(version.schema, schema))
    const reasons = known ? [] : incompatibilities(schema, versions)
    if (reasons.length > 0) throw incompatibleSchema(subject, reasons)
    // First, so that the server refuses what another deployer adds meanwhile.
    await this.#requireFullTransitive(subject)
    if (known) return known
    const id = await this.#add(subject, schema)
    const added = (await this.versions(subject)).find(version => version.id === id)
    if (!added) throw new FreshetError('registry-unavailable', `the registry lost schema ${id} of ${subject} again`)
    return added
  }

  /** @returns the id @throws FreshetError `schema-incompatible` when another deployer was first with what excludes it */
  async #add(subject: Subject, schema: string): Promise<number> {
    try {
      return await this.#ask(client => client.register(subject, { schemaType: 'AVRO', schema }))
    } catch (thrown) {
      if (!isRefusal(thrown)) throw thrown
      const reasons = await this.check(subject, schema)
      throw incompatibleSchema(subject, reasons.length > 0 ? reasons : [thrown.message])
    }
  }

  async #requireFullTransitive(subject: Subject): Promise<void> {
    if ((await this.#compatibility(subject)) === fullTransitive) return
    try {
      await this.#ask(client => client.updateCompatibility(subject, fullTransitive))
    } catch (thrown) {
      // Another deployer may have been first: some registries refuse to set a rule twice.
      if ((await this.#compatibility(subject)) !== fullTransitive) throw thrown
    }
  }

  #compatibility(subject: Subject): Promise<string | null> {
    return this.#ask(client => client.getCompatibility(subject)).catch(unlessUnknown(null))
  }

  #versionNumbers(subject: Subject): Promise<readonly number[]> {
    return this.#ask(client => client.getAllVersions(subject)).catch(unlessUnknown([]))
  }

  async #fetchById(id: number): Promise<SchemaById> {
    // No subject: the record that names the id may come from any.
    const found = await this.#ask(client => client.getBySubjectAndId('', id)).catch(unlessUnknown(null))
    if (!found) throw new FreshetError('schema-unknown', `the registry holds no schema ${id}`)
    return { id, schema: found.schema }
  }

  /** Asks one endpoint after another until one answers. A refusal is an answer, and thrown as it came. */
  async #ask<T>(question: (client: SchemaRegistryClient) => Promise<T>): Promise<T> {
    this.#endpoints ??= openEndpoints(this.#options, this.#agent)
    let failure: FreshetError | null = null
    for (const { url, client } of await this.#endpoints) {
      // The client's own caches would outlive a registry that was emptied.
      client.clearCaches()
      try {
        return await question(client)
      } catch (thrown) {
        failure = accessFailure(thrown, url)
        if (failure === null) throw thrown
        if (!failure.retryable) break
      }
    }
    throw failure ?? new FreshetError('config-invalid', 'no address of a schema registry is given')
  }
}

/**
 * One client per address: the client's own list is asked to its end after any refusal, so that the answer of a
 * registry is lost when the last in the list is away.
 *
 * Only the client's file is loaded (measured: 0.2 s, 37 MB). The whole package brings key management of clouds (1.6 s,
 * 89 MB).
 */
async function openEndpoints(options: ConfluentRegistryOptions, httpsAgent: Agent): Promise<readonly Endpoint[]> {
  const { SchemaRegistryClient: Client } = await import('@confluentinc/schemaregistry/dist/schemaregistry-client.js')
  const { urls, timeoutMs, username, password, bearerToken } = options
  const basic = { credentialsSource: 'USER_INFO' as const, userInfo: `${username}:${password ?? ''}` }
  const authorization = bearerToken === undefined ? {} : { headers: { Authorization: `Bearer ${bearerToken}` } }
  return urls.map(url => ({
    url: url.replace(/\/\/[^/@]*@/, '//'),
    client: new Client({
      baseURLs: [url],
      createAxiosDefaults: { timeout: timeoutMs, httpsAgent, ...authorization },
      ...(username === undefined || bearerToken !== undefined ? {} : { basicAuthCredentials: basic }),
      // Once more, because a connection that was kept may have died with a restart of the server.
      maxRetries: 1,
      retriesWaitMs: 50,
    }),
  }))
}

/** For `catch`: what the registry does not know is `otherwise`. */
function unlessUnknown<T>(otherwise: T): (thrown: unknown) => T {
  return thrown => {
    if (isUnknownToRegistry(thrown)) return otherwise
    throw thrown
  }
}

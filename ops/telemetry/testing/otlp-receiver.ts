import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'

export type Attributes = Readonly<Record<string, string | number | boolean>>

/** A span as a collector gets it. */
export interface ReceivedSpan {
  readonly service: string
  readonly traceId: string
  readonly spanId: string
  /** Empty for the first of a trace. */
  readonly parentSpanId: string
  readonly name: string
  /** As OpenTelemetry numbers them: 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number
  readonly attributes: Attributes
  readonly startMs: number
  readonly endMs: number
  readonly isError: boolean
}

interface KeyValue {
  readonly key: string
  readonly value: {
    readonly stringValue?: string
    readonly intValue?: string | number
    readonly doubleValue?: number
    readonly boolValue?: boolean
  }
}

interface TracesBody {
  readonly resourceSpans?: readonly {
    readonly resource: { readonly attributes: readonly KeyValue[] }
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly traceId: string
        readonly spanId: string
        readonly parentSpanId?: string
        readonly name: string
        readonly kind: number
        readonly attributes?: readonly KeyValue[]
        readonly startTimeUnixNano: string
        readonly endTimeUnixNano: string
        readonly status?: { readonly code?: number }
      }[]
    }[]
  }[]
}

interface MetricsBody {
  readonly resourceMetrics?: readonly {
    readonly resource: { readonly attributes: readonly KeyValue[] }
    readonly scopeMetrics: readonly { readonly metrics: readonly { readonly name: string }[] }[]
  }[]
}

/** A collector on 127.0.0.1 that takes OTLP over HTTP as JSON, and keeps it. */
export class OtlpReceiver {
  readonly url: string
  readonly spans: ReceivedSpan[] = []
  /** Names of metrics by service. */
  readonly metrics = new Map<string, Set<string>>()
  readonly #server: Server

  static async start(): Promise<OtlpReceiver> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new OtlpReceiver(server)
  }

  private constructor(server: Server) {
    this.#server = server
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('request', (request, response) => {
      void this.#take(request).then(() => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'))
    })
  }

  /** What is set for processes that are to send here. */
  get environment(): Readonly<Record<string, string>> {
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: this.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_METRICS_EXPORTER: 'otlp',
      OTEL_METRIC_EXPORT_INTERVAL: '1000',
    }
  }

  ofTrace(traceId: string): readonly ReceivedSpan[] {
    return this.spans.filter(span => span.traceId === traceId)
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  async #take(request: IncomingMessage): Promise<void> {
    const body: unknown = JSON.parse(await bodyOf(request))
    if (request.url === '/v1/traces') this.#takeTraces(body as TracesBody)
    else if (request.url === '/v1/metrics') this.#takeMetrics(body as MetricsBody)
  }

  #takeTraces({ resourceSpans = [] }: TracesBody): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = String(attributesOf(resource.attributes)['service.name'])
      for (const span of scopeSpans.flatMap(({ spans }) => spans))
        this.spans.push({
          service,
          traceId: span.traceId,
          spanId: span.spanId,
          parentSpanId: span.parentSpanId ?? '',
          name: span.name,
          kind: span.kind,
          attributes: attributesOf(span.attributes ?? []),
          startMs: Number(span.startTimeUnixNano) / 1e6,
          endMs: Number(span.endTimeUnixNano) / 1e6,
          isError: span.status?.code === 2,
        })
    }
  }

  #takeMetrics({ resourceMetrics = [] }: MetricsBody): void {
    for (const { resource, scopeMetrics } of resourceMetrics) {
      const service = String(attributesOf(resource.attributes)['service.name'])
      const names = this.metrics.get(service) ?? new Set()
      this.metrics.set(service, names)
      for (const { name } of scopeMetrics.flatMap(({ metrics }) => metrics)) names.add(name)
    }
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  if (request.headers['content-encoding'] !== 'gzip') return text(request)
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return gunzipSync(Buffer.concat(chunks)).toString('utf8')
}

function attributesOf(pairs: readonly KeyValue[]): Attributes {
  return Object.fromEntries(
    pairs.map(({ key, value }) => [
      key,
      value.stringValue ?? value.boolValue ?? value.doubleValue ?? Number(value.intValue),
    ]),
  )
}

/** The spans of a trace below one, by what they say of themselves. */
export function childrenOf(
  spans: readonly ReceivedSpan[],
  parent: ReceivedSpan,
  name: string,
): readonly ReceivedSpan[] {
  return spans.filter(span => span.parentSpanId === parent.spanId && span.name === name)
}

/** The one span below another. @throws Error that says what there is instead */
export function childOf(spans: readonly ReceivedSpan[], parent: ReceivedSpan, name: string): ReceivedSpan {
  const [child, another] = childrenOf(spans, parent, name)
  if (child !== undefined && another === undefined) return child
  const below = spans.filter(span => span.parentSpanId === parent.spanId).map(span => `${span.service} ${span.name}`)
  throw new Error(`below ${parent.name} is not one ${name}, but: ${below.join(', ') || 'nothing'}`)
}

import { isSpanContextValid, trace } from '@opentelemetry/api'
import pc from 'picocolors'
import { type DestinationStream, type Logger, pino } from 'pino'
import type { Config } from './config.ts'

const levelColours: Readonly<Record<number, (text: string) => string>> = {
  30: pc.green,
  40: pc.yellow,
  50: pc.red,
  60: pc.bgRed,
}
const unshown = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'err'])

/** The one logger of a process. `json` for collectors; `pretty` for people: time, message, fields. */
export function openLogger(config: Pick<Config, 'logLevel' | 'logFormat'>, write: (line: string) => void): Logger {
  const destination: DestinationStream = {
    write: line => write(config.logFormat === 'json' ? line : prettyLine(line)),
  }
  return pino({ level: config.logLevel, base: null, mixin: traceIds }, destination)
}

/** What is logged on behalf of a traced request or event says of which. */
function traceIds(): { readonly trace_id?: string; readonly span_id?: string } {
  const context = trace.getActiveSpan()?.spanContext()
  if (context === undefined || !isSpanContextValid(context)) return {}
  return { trace_id: context.traceId, span_id: context.spanId }
}

interface LogLine {
  readonly level: number
  readonly time: number
  readonly msg?: string
  readonly err?: { readonly message?: string; readonly stack?: string }
}

function prettyLine(line: string): string {
  const entry = JSON.parse(line) as LogLine & Record<string, unknown>
  const colour = levelColours[entry.level] ?? pc.dim
  const fields = Object.entries(entry)
    .filter(([name]) => !unshown.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const time = new Date(entry.time).toTimeString().slice(0, 8)
  const error = entry.err?.stack ?? entry.err?.message
  const rest = fields.length === 0 ? '' : ` ${pc.dim(fields.join(' '))}`
  return `${pc.dim(time)} ${colour(entry.msg ?? '')}${rest}${error === undefined ? '' : `\n${pc.dim(error)}`}\n`
}

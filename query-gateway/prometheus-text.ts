/** Lines of the Prometheus text format. */

export type Series = readonly (readonly [labels: string, value: number])[]

export function* gauge(name: string, values: Series): Generator<string> {
  yield `# TYPE ${name} gauge`
  for (const [label, value] of values) yield `${name}${label} ${value}`
}

export function series(label: string, values: Readonly<Record<string, number>>): Series {
  return Object.entries(values).map(([name, value]) => [labels({ [label]: name }), value])
}

export function labels(values: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(values).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return `{${pairs.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

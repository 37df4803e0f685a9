import type { Attributes, Meter } from '@opentelemetry/api'

/** One value and the labels that tell it from the others of its gauge; few of them, and of known sets. */
export type Reading = readonly [value: number, labels: Attributes]

/** A gauge that is read off something that is known anyway. */
export interface ObservedGauge<T> {
  /** With dots. Prometheus gets underscores, and the unit behind it: `freshet.index.age` in `s` is `freshet_index_age_seconds`. */
  readonly name: string
  /** What it means, for whoever watches it. */
  readonly description: string
  /** In UCUM, such as `s` and `By`. None: a count, or what the name says. */
  readonly unit?: string
  readonly read: (known: T) => Iterable<Reading>
}

/**
 * Gauges of a meter that are read when somebody collects. `ask` is called once per collection, for all of them. A
 * gauge without readings is not told that time.
 */
export function observeGauges<T>(meter: Meter, gauges: readonly ObservedGauge<T>[], ask: () => T | Promise<T>): void {
  const instruments = gauges.map(gauge => {
    const { name, description, unit = '' } = gauge
    return { gauge, instrument: meter.createObservableGauge(name, { description, unit }) }
  })
  meter.addBatchObservableCallback(
    async result => {
      const known = await ask()
      for (const { gauge, instrument } of instruments)
        for (const [value, labels] of gauge.read(known)) result.observe(instrument, value, labels)
    },
    instruments.map(({ instrument }) => instrument),
  )
}

/** A reading by name, each under the label. */
export function readingsBy(label: string, values: Readonly<Record<string, number>>): readonly Reading[] {
  return Object.entries(values).map(([name, value]) => [value, { [label]: name }])
}

import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import type { Meter } from '@opentelemetry/api'

const nanosecondsPerSecond = 1e9

/** CPU, memory and event loop of this process. Returns what ends it. */
export function observeProcess(meter: Meter): () => void {
  const cpuTime = meter.createObservableCounter('process.cpu.time', {
    unit: 's',
    description: 'CPU time of the process, by mode',
  })
  const memory = meter.createObservableGauge('process.memory.usage', {
    unit: 'By',
    description: 'Memory of the process that is in RAM',
  })
  const heap = meter.createObservableGauge('v8js.memory.heap.used', {
    unit: 'By',
    description: 'JavaScript heap in use',
  })
  const uptime = meter.createObservableGauge('process.uptime', {
    unit: 's',
    description: 'Time since the process began',
  })
  meter.addBatchObservableCallback(
    result => {
      const { user, system } = process.cpuUsage()
      result.observe(cpuTime, user / 1e6, { 'cpu.mode': 'user' })
      result.observe(cpuTime, system / 1e6, { 'cpu.mode': 'system' })
      const { rss, heapUsed } = process.memoryUsage()
      result.observe(memory, rss)
      result.observe(heap, heapUsed)
      result.observe(uptime, process.uptime())
    },
    [cpuTime, memory, heap, uptime],
  )
  return observeEventLoop(meter)
}

/** Delays are of the time since they were last collected. */
function observeEventLoop(meter: Meter): () => void {
  const delays = monitorEventLoopDelay({ resolution: 20 })
  delays.enable()
  const utilization = meter.createObservableGauge('nodejs.eventloop.utilization', {
    description: 'Share of the time that the event loop was busy since it was last collected, 0 to 1',
  })
  const delay = (name: string, what: string) =>
    meter.createObservableGauge(`nodejs.eventloop.delay.${name}`, {
      unit: 's',
      description: `${what} delay of the event loop since it was last collected`,
    })
  const mean = delay('mean', 'Mean')
  const p99 = delay('p99', '99th percentile of the')
  const max = delay('max', 'Longest')
  let before = performance.eventLoopUtilization()
  meter.addBatchObservableCallback(
    result => {
      const now = performance.eventLoopUtilization()
      result.observe(utilization, performance.eventLoopUtilization(now, before).utilization)
      before = now
      if (delays.count === 0) return
      result.observe(mean, delays.mean / nanosecondsPerSecond)
      result.observe(p99, delays.percentile(99) / nanosecondsPerSecond)
      result.observe(max, delays.max / nanosecondsPerSecond)
      delays.reset()
    },
    [utilization, mean, p99, max],
  )
  return () => delays.disable()
}

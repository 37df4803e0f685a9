import type { FreshetError } from '../../schemas/errors.ts'
import { ControlLog } from '../../topologies/control/control-log.ts'
import type { ControlState } from '../../topologies/control/control-state.ts'
import type { LogPorts } from '../storage.ts'
import { Polled } from './polled.ts'

export interface ControlFollowerOptions {
  readonly ports: Pick<LogPorts, 'log' | 'codecs'>
  /** Called with the state once a second, changed or not; the next look waits for it. What it throws may pass. */
  readonly onState?: (state: ControlState) => Promise<void>
  /** The control log cannot be read, or `onState` has thrown: told once, until it works again. */
  readonly onTrouble: (error: FreshetError) => void
}

const lookEveryMs = 1_000

/** Keeps a process on what the control log says. While the log is away, the last state holds. */
export class ControlFollower {
  readonly #control: ControlLog
  readonly #polled: Polled<void>

  private constructor(control: ControlLog, polled: Polled<void>) {
    this.#control = control
    this.#polled = polled
  }

  /** Resolves when the state there is was passed on once, or that failed in a way that may pass. @throws FreshetError what will not */
  static async start({ ports, onState, onTrouble }: ControlFollowerOptions): Promise<ControlFollower> {
    const { log, codecs } = ports
    const control = new ControlLog({ log, codec: codecs.control })
    const look = async (): Promise<void> => {
      const state = await control.refresh()
      await onState?.(state)
    }
    const polled = await Polled.start({ ask: look, everyMs: lookEveryMs, onTrouble })
    if (polled.failure === null || polled.failure.retryable) return new ControlFollower(control, polled)
    await polled.close()
    throw polled.failure
  }

  /** As of the last look. */
  get state(): ControlState {
    return this.#control.state
  }

  close(): Promise<void> {
    return this.#polled.close()
  }
}

import { setTimeout as delay } from 'node:timers/promises'
import { FreshetClient } from '../../../schemas/client.ts'
import type { Status } from '../../../schemas/http-operations.ts'
import type { FaultInstallation } from '../faults/fault-installation.ts'
import { until } from '../faults/until.ts'
import { GatewayPair } from './gateway-pair.ts'
import type { SwitchMoment } from './switch-scenario.ts'

/** `gateway`: the one that has the operator's step in hand, or else one of them. */
export type Victims = Readonly<Partial<Record<SwitchMoment, readonly string[]>>>

export interface Kill {
  readonly moment: SwitchMoment
  /** Its place. */
  readonly name: string
  /** When, ISO-8601. */
  readonly at: string
  /** A step of the operator was in its hands. */
  readonly wasOperated: boolean
  /** From the signal until the next process in its place was ready. */
  readonly readyAfterMs: number
}

export interface SwitchKillerOptions {
  readonly installation: FaultInstallation
  readonly victims: Victims
  /** 0 to 1, seeded. */
  readonly random: () => number
  readonly note: (line: string) => void
}

/** How long into a step of the operator its gateway is killed at most: routing takes some tens of milliseconds. */
const intoStepMs = 40
const untilStepMs = 1_000
/** With all that a busy machine has to do besides. */
const readyWithinMs = 240_000

/** Kills processes of an installation one after the other, each when the one before it is back: what it may lose at once. */
export class SwitchKiller {
  readonly gateways: GatewayPair
  readonly kills: Kill[] = []
  readonly #options: SwitchKillerOptions

  constructor(options: SwitchKillerOptions) {
    this.#options = options
    this.gateways = new GatewayPair(options.installation.gatewayUrls)
  }

  /** Resolves when all that were to be killed at the moment are back. @throws Error with what one printed that is not */
  async strike(moment: SwitchMoment): Promise<void> {
    for (const name of this.#options.victims[moment] ?? []) {
      await this.#untilKnown(({ share }) => share > 0)
      await this.#kill(moment, name)
    }
    await this.#untilKnown(() => true)
  }

  async #kill(moment: SwitchMoment, wanted: string): Promise<void> {
    const { installation, note } = this.#options
    const { fleet } = installation
    const operated = wanted === 'gateway' ? await this.#operated() : null
    const name = operated ?? (wanted === 'gateway' ? this.#anyGateway() : wanted)
    const wasOperated = operated !== null && this.gateways.operated === operated
    const beganMs = performance.now()
    const at = new Date().toISOString()
    if (this.gateways.has(name)) this.gateways.killed(name)
    await fleet.kill(name)
    await fleet.start(name, { withinMs: readyWithinMs })
    if (this.gateways.has(name)) this.gateways.isBack(name)
    const readyAfterMs = performance.now() - beganMs
    this.kills.push({ moment, name, at, wasOperated, readyAfterMs })
    note(
      `  ${moment}: killed ${name}${wasOperated ? ' with a step in hand' : ''}, back after ${Math.round(readyAfterMs)} ms`,
    )
  }

  /** In the middle of a step, if one comes. */
  async #operated(): Promise<string | null> {
    const beganMs = performance.now()
    while (this.gateways.operated === null && performance.now() - beganMs < untilStepMs) await delay(1)
    const { operated } = this.gateways
    if (operated !== null) await delay(this.#options.random() * intoStepMs)
    return operated
  }

  #anyGateway(): string {
    const names = [...this.#options.installation.gatewayUrls.keys()]
    return names[Math.floor(this.#options.random() * names.length)]!
  }

  /**
   * Every gateway knows of all replicas that are wanted: of what answers queries before a kill, since who is killed may
   * not be the last one; of every generation at the end, since what is asked for then has to come about.
   */
  async #untilKnown(isWanted: (generation: Status['generations'][number]) => boolean): Promise<void> {
    const { gatewayUrls } = this.#options.installation
    const clients = Array.from(gatewayUrls.values(), baseUrl => new FreshetClient({ baseUrl }))
    await until(
      'every gateway has two ready replicas of each generation, and its model',
      async () => {
        const all = await Promise.all(clients.map(client => client.status()))
        const wanted = all.flatMap(({ generations }) => generations.filter(isWanted))
        return wanted.every(({ replicas, held }) => replicas?.ready === 2 && held === true)
      },
      readyWithinMs,
    )
  }
}

import type { FreshetError } from '../../schemas/errors.ts'
import { HeartbeatWriter, type HeartbeatWriterOptions } from '../../shard-node/http/heartbeat-writer.ts'
import type { ControlState } from '../../topologies/control/control-state.ts'
import type { Alarms } from '../alarms.ts'
import { advertisedOrigin } from '../listen.ts'
import type { LogPorts } from '../storage.ts'
import { ControlFollower } from './control-follower.ts'
import type { GenerationParts } from './generation-parts.ts'
import { clock, type RoleContext } from './role.ts'

/** What the lines below have in common: those of a role that runs a part of each generation, such as a shard. */
export interface GenerationRole {
  readonly context: Pick<RoleContext, 'config' | 'closers'>
  readonly ports: Pick<LogPorts, 'log' | 'codecs'>
  readonly alarms: Alarms
}

/**
 * Opens and closes parts as the control log says, while the process runs; `onState` is told of each state first. Resolves when those there are were opened.
 * @throws FreshetError why one that answers queries cannot be opened, or the control log not be followed
 */
export async function followGenerations<Part>(
  parts: GenerationParts<Part>,
  { context, ports, alarms }: GenerationRole,
  onState: (state: ControlState) => void = () => {},
): Promise<void> {
  const control = await ControlFollower.start({
    ports,
    onState: state => {
      onState(state)
      return parts.adopt(state)
    },
    onTrouble: error => alarms.raise('control', error),
  })
  context.closers.add(() => control.close())
  if (parts.failure !== null) throw parts.failure
}

/** Tells gateways where the process listens and how its parts are, until it drains. */
export function startHeartbeats(
  { context, ports, alarms }: GenerationRole,
  { url, ...speaking }: Pick<HeartbeatWriterOptions, 'role' | 'replicas'> & { readonly url: string },
): void {
  const heartbeats = new HeartbeatWriter({
    ...speaking,
    log: ports.log,
    codec: ports.codecs.heartbeats,
    address: advertisedOrigin(context.config, url),
    clock,
    onTrouble: (error: FreshetError) => alarms.raise('heartbeats', error),
  })
  heartbeats.start()
  context.closers.add(() => heartbeats.stop())
}

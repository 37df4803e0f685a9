import type { Partition } from '../../schemas/ids.ts'

export interface GroupMember {
  /** Its partitions from now on. */
  assign(partitions: readonly Partition[]): void
}

/** The readers of one consumer group on one topic: with each that joins or leaves the partitions are dealt anew, in turn. */
export class EmbeddedGroup {
  readonly #partitions: readonly Partition[]
  #members: readonly GroupMember[] = []

  constructor(partitions: readonly Partition[]) {
    this.#partitions = partitions
  }

  join(member: GroupMember): void {
    this.#members = [...this.#members, member]
    this.#deal()
  }

  leave(member: GroupMember): void {
    this.#members = this.#members.filter(other => other !== member)
    this.#deal()
  }

  #deal(): void {
    for (const [turn, member] of this.#members.entries())
      member.assign(this.#partitions.filter((_, index) => index % this.#members.length === turn))
  }
}

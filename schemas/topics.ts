import type { Generation } from './ids.ts'

export const catalogTopic = 'freshet.catalog'
export const controlTopic = 'freshet.control'
export const heartbeatTopic = 'freshet.heartbeats'
export const engagementTopic = 'freshet.engagement'
export const deadLetterTopic = 'freshet.dead-letters'
export const mutationTopic = (generation: Generation): string => `freshet.mutations.${generation}`

/** Registry subjects; that of the mutations is without the generation. */
export const subjects = {
  catalog: 'freshet.catalog-value',
  mutations: 'freshet.mutations-value',
  control: 'freshet.control-value',
  engagement: 'freshet.engagement-value',
  deadLetters: 'freshet.dead-letters-value',
  heartbeats: 'freshet.heartbeats-value',
} as const
export type Subject = (typeof subjects)[keyof typeof subjects]

import type { InstallationPlan } from './fault-installation.ts'

export const standard: InstallationPlan = { name: 'standard', brokers: 1, kafkaSettings: {}, env: {} }

export const threeBrokers: InstallationPlan = { name: 'three brokers', brokers: 3, kafkaSettings: {}, env: {} }

/** In the plan for compaction: roles that are killed together must be back within it, also on a busy machine. */
export const tombstoneRetentionMs = 45_000

/** Segments end after a second, and are compacted as soon as they have: no lag, removals are kept for seconds. */
export const compacting: InstallationPlan = {
  name: 'compacting',
  brokers: 1,
  kafkaSettings: {
    'log.roll.ms': '1000',
    'log.cleaner.min.cleanable.ratio': '0.01',
    'log.cleaner.backoff.ms': '200',
  },
  env: {
    FRESHET_LOG_COMPACTION_LAG_MS: '0',
    FRESHET_DISPATCH_TOMBSTONE_RETENTION_MS: `${tombstoneRetentionMs}`,
  },
}

/** One of its own: its catalog topic is deleted. */
export const recreated: InstallationPlan = { name: 'recreated', brokers: 1, kafkaSettings: {}, env: {} }

/** Every way in which a shard changes its directory. */
export const diskSteps = ['create', 'write', 'sync', 'rename', 'sync-directory', 'link', 'remove'] as const
export type DiskStep = (typeof diskSteps)[number]

/**
 * Called before each step, with the name of the file concerned. Whatever it throws happens instead of the step: so
 * tests end a process at every step, or fill the disk at every write.
 */
export type OnDiskStep = (step: DiskStep, file: string) => void

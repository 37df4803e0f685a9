import { openDataDirectory } from '../data-directory.ts'

/** A process that holds a data directory until it is killed. Argument: the directory. Prints `open` once it has it. */
await openDataDirectory(process.argv[2]!)
console.log('open')
setInterval(() => undefined, 60_000)

import { artifactSets } from './artifact-sets.ts'
import { fetchArtifacts, isCached } from './maven-artifacts.ts'

/**
 * The set-up's view of the servers' files. Without arguments: prints a line per set that is missing, `name title
 * megabytes` parted by tabs. With names: fetches those; on failure prints one sentence and exits with 1.
 */
const names = process.argv.slice(2)
if (names.length === 0) {
  for (const set of artifactSets.filter(each => !isCached(each)))
    process.stdout.write(`${[set.name, set.title, set.megabytes].join('\t')}\n`)
}
for (const name of names) {
  const set = artifactSets.find(each => each.name === name)
  if (set === undefined) throw new Error(`there are no files called ${name}`)
  await fetchArtifacts(set).catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  })
}

import { type ArtifactSet, fetchArtifacts } from '../maven-artifacts.ts'

/** Fetches the set given as JSON, and prints its folder. */
console.log(await fetchArtifacts(JSON.parse(process.argv[2]!) as ArtifactSet))

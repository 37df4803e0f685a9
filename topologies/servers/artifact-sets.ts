import type { ArtifactSet } from './maven-artifacts.ts'

/** The broker as it is on Maven Central, and what connects its logging to its log4j, without which it says nothing. */
export const kafkaArtifacts: ArtifactSet = {
  kind: 'jars',
  name: 'kafka',
  version: '4.3.1',
  title: 'Apache Kafka 4.3.1',
  megabytes: 45,
  dependencies: ['org.apache.kafka:kafka_2.13:4.3.1', 'org.apache.logging.log4j:log4j-slf4j-impl:2.25.4'],
}

/** 3.0.9 is the newest that runs on Java 17. */
export const registryArtifacts: ArtifactSet = {
  kind: 'archive',
  name: 'apicurio-registry',
  version: '3.0.9',
  title: 'Apicurio Registry 3.0.9',
  megabytes: 110,
  archive: 'io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all',
}

export const artifactSets: readonly ArtifactSet[] = [kafkaArtifacts, registryArtifacts]

import { fileURLToPath } from 'node:url'
import { buildPackages } from './build-packages.ts'

/** `npm pack`: makes `dist`, which is all that the package holds. */
await buildPackages(fileURLToPath(new URL('../../dist', import.meta.url)))

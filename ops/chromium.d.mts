/** Path of a Chromium or Chrome: `CHROMIUM_PATH`, else on the search path, else null. */
export function findChromium(environment: Readonly<Record<string, string | undefined>>): string | null

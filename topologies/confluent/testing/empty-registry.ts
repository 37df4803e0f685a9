/** Removes all subjects of a registry that tests share, for good, so that the next test finds none. */
export async function emptyRegistry(url: string): Promise<void> {
  const subjects = (await (await fetch(`${url}/subjects`)).json()) as readonly string[]
  for (const subject of subjects)
    for (const query of ['', '?permanent=true']) {
      const { ok, status } = await fetch(`${url}/subjects/${encodeURIComponent(subject)}${query}`, { method: 'DELETE' })
      if (!ok && status !== 404) throw new Error(`the registry did not remove ${subject}: ${status}`)
    }
}

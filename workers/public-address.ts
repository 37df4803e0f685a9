import ipaddr from 'ipaddr.js'

const nat64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')
/** Of a public range, yet answered by the cloud a machine runs in, with what is meant for that machine alone. */
const insideClouds: ReadonlySet<string> = new Set(['168.63.129.16'])
/** Before the IPv4 address in the interface part of an ISATAP address, local and global. */
const isatap: readonly string[] = ['0:0:5e:fe', '2:0:5e:fe']

/**
 * Whether an IP address is reachable for everybody: not private, loopback, link-local, carrier-grade, multicast or
 * reserved, nor of one interface only (with a zone). IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64,
 * ISATAP) are judged by that address. What is not an address is not public.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.parse(address)
  if (parsed instanceof ipaddr.IPv4) return isPublicIpv4(parsed)
  if (parsed.zoneId !== undefined) return false
  const embedded = embeddedIpv4(parsed)
  if (embedded !== null) return isPublicIpv4(embedded)
  return parsed.match(globalUnicast) && parsed.range() === 'unicast'
}

function isPublicIpv4(address: ipaddr.IPv4): boolean {
  return address.range() === 'unicast' && !insideClouds.has(address.toString())
}

function embeddedIpv4(address: ipaddr.IPv6): ipaddr.IPv4 | null {
  const bytes = address.toByteArray()
  if (address.isIPv4MappedAddress() || address.match(nat64)) return new ipaddr.IPv4(bytes.slice(12))
  const interfacePart = bytes.slice(8, 12).map(byte => byte.toString(16))
  if (isatap.includes(interfacePart.join(':'))) return new ipaddr.IPv4(bytes.slice(12))
  return address.range() === '6to4' ? new ipaddr.IPv4(bytes.slice(2, 6)) : null
}

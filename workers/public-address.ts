import ipaddr from 'ipaddr.js'

const nat64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

/**
 * Whether an IP address is reachable for everybody: not private, loopback, link-local, carrier-grade, multicast or
 * reserved. IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64) are judged by that address. What is not an
 * address is not public.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.parse(address)
  if (parsed instanceof ipaddr.IPv4) return parsed.range() === 'unicast'
  const embedded = embeddedIpv4(parsed)
  if (embedded !== null) return embedded.range() === 'unicast'
  return parsed.match(globalUnicast) && parsed.range() === 'unicast'
}

function embeddedIpv4(address: ipaddr.IPv6): ipaddr.IPv4 | null {
  const bytes = address.toByteArray()
  if (address.isIPv4MappedAddress() || address.match(nat64)) return new ipaddr.IPv4(bytes.slice(12))
  return address.range() === '6to4' ? new ipaddr.IPv4(bytes.slice(2, 6)) : null
}

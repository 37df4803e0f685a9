import { hostname } from 'node:os'
import { detectResources, envDetector, type Resource, resourceFromAttributes } from '@opentelemetry/resources'
import { ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions'

/**
 * Who tells metrics and traces: the role and its process, and above that what OTEL_SERVICE_NAME and
 * OTEL_RESOURCE_ATTRIBUTES say. The command line is left out: it may hold secrets.
 */
export function resourceOf(role: string, instanceId: string): Resource {
  const own = resourceFromAttributes({
    [ATTR_SERVICE_NAME]: `freshet-${role}`,
    'service.namespace': 'freshet',
    'service.instance.id': instanceId,
    'host.name': hostname(),
    'process.pid': process.pid,
  })
  return own.merge(detectResources({ detectors: [envDetector] }))
}

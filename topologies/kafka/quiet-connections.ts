import RequestQueue from 'kafkajs/src/network/requestQueue/index.js'

const { scheduleCheckPendingRequests } = RequestQueue.prototype

/**
 * Idle connections idle. kafkajs looks every millisecond, over each connection that was ever used, for requests that a
 * throttled broker has kept waiting, also when there are none: it takes "not throttled" for "until long ago", and Node
 * makes a millisecond of that. A process with some connections takes a few percent of a core for it. Who looks
 * is called again whenever a request has to wait, and whenever a broker throttles. Repeatable.
 */
export function quietIdleConnections(): void {
  RequestQueue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.pending.length > 0 || this.throttledUntil > Date.now()) scheduleCheckPendingRequests.call(this)
  }
}

declare module 'kafkajs/src/network/requestQueue/index.js' {
  /** What waits to be sent over one connection; what of it we touch. */
  export default class RequestQueue {
    constructor(options: {
      readonly maxInFlightRequests: number | null
      readonly requestTimeout: number
      readonly enforceRequestTimeout: boolean
      readonly clientId: string
      readonly broker: string
      readonly logger: { debug(message: string, fields: object): void }
    })
    pending: unknown[]
    /** ms since 1970; -1 for never. */
    throttledUntil: number
    /** null or undefined when nothing is scheduled. */
    throttleCheckTimeoutId: NodeJS.Timeout | null | undefined
    checkPendingRequests(): void
    scheduleCheckPendingRequests(): void
    destroy(): void
  }
}

/**
 * What is fixed about preprocessing. Apart from the code behind it, so that who reads a manifest or runs the pool loads
 * no image library.
 */

/** Most pixels of a picture before decoding. */
export const defaultMaxPixels = 64_000_000

/** Names of the steps, as manifests state them. A change of behaviour gets a new name and so a new fingerprint. */
export const decodePolicy = 'decode-v1'
export const stretchPolicy = 'stretch-v1'
export const cropPolicy = 'crop-square-v1'

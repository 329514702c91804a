import type { RequestOptions } from 'node:https'
import { invalidArgument } from '../codec/arguments.js'

/** Arguments of a `createConnection`: options, or a port, and behind it in any number a host, options and a callback. */
export type NetArguments = readonly unknown[]

/**
 * Reads them as `net.createConnection` and that of `https.Agent` do. A host of the options gives way to one that stands alone.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for a path, and where neither a port nor options come first: the connection would
 * go to a place that nobody named.
 */
export function netArguments(given: NetArguments): { readonly asked: RequestOptions; readonly callback: unknown } {
  const [first, second] = given
  const callback = given.find((value) => typeof value === 'function')
  // The objects of the caller are options of a request, as far as anybody can tell.
  const options = given.find((value) => typeof value === 'object' && value !== null) as RequestOptions | undefined
  if (options !== undefined && options === first) return { asked: options, callback }
  const port = typeof first === 'string' && /^\d+$/.test(first) ? Number(first) : first
  if (!Number.isInteger(port)) throw invalidArgument('createConnection takes options, or a port and a host')
  const host = typeof second === 'string' ? { host: second } : {}
  return { asked: { ...options, port: Number(port), ...host }, callback }
}

import { invalidArgument, isPort } from '../codec/arguments.js'
import { isUnspecified } from '../codec/destination.js'
import { type Destination, parseDestination, SocksError } from '../codec/index.js'
import type { HostAndPort } from './bind-options.js'

/**
 * The target that an application gave, canonical.
 * @throws TypeError for what is no `{ host, port }`; SocksError `ERR_SOCKS_INVALID_HOST` for a host that nothing leads to.
 */
export function checkedTarget(target: HostAndPort): Destination {
  // String() would make a name of what is missing.
  if (typeof target?.host !== 'string' || !isPort(target.port) || target.port === 0) {
    throw invalidArgument('a target is { host, port }')
  }
  const destination = parseDestination(target.host, target.port)
  if (isUnspecified(destination.host)) throw new SocksError('ERR_SOCKS_INVALID_HOST', 'unspecified address')
  return destination
}

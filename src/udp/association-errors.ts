import { type Destination, formatDestination, SocksError } from '../codec/index.js'

/** The control connection is over, and with it the association. RFC 1928 section 7. */
export function ended(cause: Error | undefined): SocksError {
  return new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the proxy has ended the association', { cause })
}

/** A name that was looked up on this side, in vain. */
export function noAddress(destination: Destination, cause: unknown): SocksError {
  const target = formatDestination(destination)
  return new SocksError('ERR_SOCKS_HOST_UNREACHABLE', `no address for ${target}`, { target, cause })
}

/** What was to be sent is dropped, because too much waits. */
export function tooMany(): SocksError {
  return new SocksError('ERR_SOCKS_LIMIT', 'too many datagrams wait to be sent')
}

/** As `dgram` tells of a `send` after the end. */
export function notRunning(cause: SocksError | undefined): Error {
  const error = new Error('the association is closed', cause === undefined ? {} : { cause })
  return Object.assign(error, { code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' })
}

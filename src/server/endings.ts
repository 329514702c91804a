import { SocksError } from '../codec/index.js'

/** The client went away before it had what it asked for. */
export function aborted(cause: Error | undefined): SocksError {
  return new SocksError('ERR_SOCKS_ABORTED', 'the client went away during the handshake', { cause })
}

/** The connection is over, whatever was still waiting for it. */
export function hasEnded(): SocksError {
  return new SocksError('ERR_SOCKS_ABORTED', 'the connection has ended')
}

/** The whole handshake has taken too long. */
export function handshakeTimeout(): SocksError {
  return new SocksError('ERR_SOCKS_HANDSHAKE_TIMEOUT', 'no complete request in time')
}

import { VERSION } from './constants.js'
import { SocksError } from './errors.js'

// First letters of HTTP methods (CONNECT, DELETE, GET, HEAD, OPTIONS, PUT/POST/PATCH, TRACE) and of a status line's "HTTP".
const HTTP_FIRST_BYTES = new Set(Array.from('CDGHOPT', (letter) => letter.charCodeAt(0)))

// TLS record types of a ClientHello (handshake) and of an alert. RFC 8446 section 5.1.
const TLS_FIRST_BYTES = new Set([0x15, 0x16])

const SOCKS5: readonly number[] = [VERSION]

/**
 * Refuses a message whose version byte is already known to be wrong, before anything else of it has arrived.
 * @param allowed the bytes that a message of SOCKS `version` may begin with.
 * @throws SocksError `ERR_SOCKS_PEER_IS_HTTP`, `ERR_SOCKS_PEER_IS_TLS` or `ERR_SOCKS_BAD_VERSION`.
 */
export function checkVersion(byte: number | undefined, allowed: readonly number[] = SOCKS5, version: 4 | 5 = 5): void {
  if (byte === undefined || allowed.includes(byte)) return
  if (HTTP_FIRST_BYTES.has(byte)) throw new SocksError('ERR_SOCKS_PEER_IS_HTTP', 'the peer speaks HTTP, not SOCKS')
  if (TLS_FIRST_BYTES.has(byte)) throw new SocksError('ERR_SOCKS_PEER_IS_TLS', 'the peer speaks TLS, not SOCKS')
  const got = `0x${byte.toString(16).padStart(2, '0')}`
  throw new SocksError('ERR_SOCKS_BAD_VERSION', `expected SOCKS version ${version}, got ${got}`)
}

/** Whether an error says that the peer's first byte was of another protocol. */
export function isOtherProtocol(error: SocksError): boolean {
  return (
    error.code === 'ERR_SOCKS_BAD_VERSION' ||
    error.code === 'ERR_SOCKS_PEER_IS_HTTP' ||
    error.code === 'ERR_SOCKS_PEER_IS_TLS'
  )
}

import { type Address, decodeAddress, UNSPECIFIED_ADDRESS } from './address.js'
import { assertByte } from './arguments.js'
import { ReplyCode, VERSION } from './constants.js'
import type { Decoded } from './decoded.js'
import { SocksError, type SocksErrorCode, type SocksErrorDetails } from './errors.js'
import { prefixAddress } from './request.js'
import { checkVersion } from './version.js'

/** A server's answer to a request. RFC 1928 section 6. */
export interface Reply {
  /** REP byte: see `ReplyCode`; a peer may send any. */
  readonly code: number
  /** BND.ADDR and BND.PORT, unchecked beyond their framing. */
  readonly bound: Address
}

/** `05 REP 00 ATYP BND.ADDR BND.PORT`; `bound` is 0.0.0.0:0 where it is left out. @throws as `encodeAddress` does. */
export function encodeReply({
  code,
  bound = UNSPECIFIED_ADDRESS,
}: {
  code: number
  bound?: Address | undefined
}): Uint8Array {
  assertByte(code, 'reply code')
  return prefixAddress(VERSION, code, bound)
}

/** Reads a whole reply; the reserved byte is ignored. @throws SocksError on a wrong version or `ERR_SOCKS_BAD_ADDRESS_TYPE`. */
export function decodeReply(bytes: Uint8Array, offset = 0): Decoded<Reply> | undefined {
  checkVersion(bytes[offset])
  const code = bytes[offset + 1]
  if (code === undefined || bytes.length < offset + 3) return undefined
  const bound = decodeAddress(bytes, offset + 3)
  if (bound === undefined) return undefined
  return { value: { code, bound: bound.value }, bytesRead: 3 + bound.bytesRead }
}

const REPLIES: Readonly<Record<number, readonly [SocksErrorCode, string]>> = {
  [ReplyCode.generalFailure]: ['ERR_SOCKS_GENERAL_FAILURE', 'general failure'],
  [ReplyCode.notAllowed]: ['ERR_SOCKS_NOT_ALLOWED', 'not allowed by the rules'],
  [ReplyCode.networkUnreachable]: ['ERR_SOCKS_NETWORK_UNREACHABLE', 'network unreachable'],
  [ReplyCode.hostUnreachable]: ['ERR_SOCKS_HOST_UNREACHABLE', 'host unreachable'],
  [ReplyCode.connectionRefused]: ['ERR_SOCKS_CONNECTION_REFUSED', 'connection refused'],
  [ReplyCode.ttlExpired]: ['ERR_SOCKS_TTL_EXPIRED', 'TTL expired or connection timed out'],
  [ReplyCode.commandNotSupported]: ['ERR_SOCKS_COMMAND_NOT_SUPPORTED', 'command not supported'],
  [ReplyCode.addressTypeNotSupported]: ['ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED', 'address type not supported'],
  // Tor with ExtendedErrors (Tor proposal 304).
  240: ['ERR_SOCKS_TOR_REPLY', 'onion service descriptor not found'],
  241: ['ERR_SOCKS_TOR_REPLY', 'onion service descriptor is invalid'],
  242: ['ERR_SOCKS_TOR_REPLY', 'onion service introduction failed'],
  243: ['ERR_SOCKS_TOR_REPLY', 'onion service rendezvous failed'],
  244: ['ERR_SOCKS_TOR_REPLY', 'onion service wants client authorization'],
  245: ['ERR_SOCKS_TOR_REPLY', 'onion service refused the client authorization'],
  246: ['ERR_SOCKS_TOR_REPLY', 'onion service address is invalid'],
  247: ['ERR_SOCKS_TOR_REPLY', 'onion service introduction timed out'],
}

/** The error that a reply code stands for, on either side; `replyCode` holds the raw byte. `message` defaults to its RFC text. */
export function replyError(replyCode: number, message?: string, details: SocksErrorDetails = {}): SocksError {
  const [code, text] = REPLIES[replyCode] ?? ['ERR_SOCKS_UNASSIGNED_REPLY', `unassigned reply code ${replyCode}`]
  return new SocksError(code, message ?? text, { ...details, replyCode })
}

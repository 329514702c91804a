import { assertBytes, invalidArgument, outOfRange } from './arguments.js'
import { GSSAPI_VERSION, GssapiMessageType } from './constants.js'
import type { Decoded } from './decoded.js'
import { SocksError } from './errors.js'

/** One message of the GSSAPI sub-negotiation, or of what it protects; the token is opaque. RFC 1961 section 3 to 5. */
export interface GssapiFrame {
  /** MTYP byte: one of `GssapiMessageType`. */
  readonly type: number
  /** TOKEN: 0 to 65535 bytes; empty in an abort. */
  readonly token: Uint8Array
}

const TYPES: ReadonlySet<number> = new Set(Object.values(GssapiMessageType))

// LEN has two bytes. RFC 1961 section 3.4.
const MAX_TOKEN = 0xffff

/**
 * `01 MTYP LEN LEN TOKEN`; an abort is `01 FF` and nothing more (RFC 1961 section 3.8).
 * @throws RangeError `ERR_OUT_OF_RANGE` for a type that is none of `GssapiMessageType`, a token over 65535 bytes.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for a token that is not bytes, or a token in an abort.
 */
export function encodeGssapiFrame({ type, token }: GssapiFrame): Uint8Array {
  if (!TYPES.has(type)) throw outOfRange('type must be 1, 2, 3 or 255')
  assertBytes(token, 'token')
  if (token.length > MAX_TOKEN) throw outOfRange('token is longer than 65535 bytes')
  if (type === GssapiMessageType.abort) {
    if (token.length > 0) throw invalidArgument('an abort holds no token')
    return Uint8Array.of(GSSAPI_VERSION, type)
  }
  const bytes = new Uint8Array(4 + token.length)
  bytes.set([GSSAPI_VERSION, type, token.length >> 8, token.length & 0xff], 0)
  bytes.set(token, 4)
  return bytes
}

/**
 * Reads one whole frame. The token is a copy that owns its bytes.
 * @throws SocksError `ERR_SOCKS_BAD_GSSAPI_FRAME` for a first byte that is not 01, a type that RFC 1961 does not know.
 */
export function decodeGssapiFrame(bytes: Uint8Array, offset = 0): Decoded<GssapiFrame> | undefined {
  const version = bytes[offset]
  if (version !== undefined && version !== GSSAPI_VERSION) throw badFrame('expected version 1 of GSSAPI framing')
  const type = bytes[offset + 1]
  if (type === undefined) return undefined
  if (!TYPES.has(type)) throw badFrame(`unknown GSSAPI message type ${type}`)
  if (type === GssapiMessageType.abort) return { value: { type, token: new Uint8Array() }, bytesRead: 2 }
  const high = bytes[offset + 2]
  const low = bytes[offset + 3]
  if (high === undefined || low === undefined) return undefined
  const start = offset + 4
  const end = start + ((high << 8) | low)
  if (bytes.length < end) return undefined
  // `slice` of Node's Buffer would share its memory.
  return { value: { type, token: new Uint8Array(bytes.subarray(start, end)) }, bytesRead: end - offset }
}

function badFrame(message: string): SocksError {
  return new SocksError('ERR_SOCKS_BAD_GSSAPI_FRAME', message)
}

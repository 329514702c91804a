import { invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import type { Destination } from '../codec/index.js'
import { assertOptionTypes } from './options.js'
import { type Fragment, fragmentPayload } from './reassembly.js'
import { MAX_DATAGRAM_BYTES } from './size.js'

/** Options of one `send`. */
export interface UdpSendOptions {
  /**
   * Cut the payload into fragments of that many bytes (RFC 1928 section 7), at most 127. Most relays drop fragments, and
   * the loss of one is the loss of all: leave it out unless you know yours.
   */
  readonly fragment?: number | undefined
}

/** As of `dgram`: called later, once, with the bytes of the payload, or with what the system said. It is not a receipt. */
export type UdpSendCallback = (error: Error | null, bytes: number) => void

/** A payload on its way to the relay. */
export interface Outgoing {
  readonly destination: Destination
  readonly pieces: readonly Fragment[]
  /** Bytes of the payload. */
  readonly size: number
  readonly callback: UdpSendCallback | undefined
}

/** Arguments of a `send`, in either order of the last two. */
export interface SendArguments {
  readonly data: unknown
  readonly port: unknown
  readonly host: unknown
  readonly options: UdpSendOptions | UdpSendCallback | undefined
  readonly callback: UdpSendCallback | undefined
}

/**
 * Checks the arguments of a `send`.
 * @throws TypeError `ERR_INVALID_ARG_VALUE`; RangeError `ERR_SOCKET_BAD_PORT`, `ERR_OUT_OF_RANGE` for a payload or a
 * fragment that no datagram holds; SocksError `ERR_SOCKS_INVALID_HOST`.
 */
export function outgoing(
  { data, port, host, options = {}, callback }: SendArguments,
  parseTarget: (host: string, port: number) => Destination,
  limitFor: (destination: Destination) => number,
): Outgoing {
  const [given, onSent]: [UdpSendOptions, UdpSendCallback | undefined] =
    typeof options === 'function' ? [{}, options] : [options, callback]
  assertOptionTypes(given, { fragment: 'count' })
  if (onSent !== undefined && typeof onSent !== 'function') throw invalidArgument('callback must be a function')
  const { fragment } = given
  const payload = bytesOf(data)
  const destination = parseTarget(checkedHost(host), checkedPort(port))
  const limit = limitFor(destination)
  // What the relay puts together it sends on as one datagram, and bare.
  const most = fragment === undefined ? limit : MAX_DATAGRAM_BYTES
  if (payload.length > most)
    throw outOfRange(`${payload.length} bytes are more than the ${most} that can be sent there`)
  const pieces = fragmentPayload(payload, Math.min(fragment ?? limit, limit))
  return { destination, pieces, size: payload.length, callback: onSent }
}

/** Calls `callback` once: when all pieces were sent, with the first error where there was one. */
export function afterAll({ pieces, size, callback }: Outgoing): UdpSendCallback | undefined {
  if (callback === undefined) return undefined
  let left = pieces.length
  let failure: Error | null = null
  return (error) => {
    failure ??= error
    left--
    if (left === 0) callback(failure, failure === null ? size : 0)
  }
}

function bytesOf(data: unknown): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data)
  if (!ArrayBuffer.isView(data)) throw invalidArgument('data must be a string or bytes')
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

function checkedHost(host: unknown): string {
  if (typeof host !== 'string') throw invalidArgument('host must be a string')
  return host
}

function checkedPort(port: unknown): number {
  if (isPort(port) && port !== 0) return port
  throw Object.assign(new RangeError('port must be an integer from 1 to 65535'), { code: 'ERR_SOCKET_BAD_PORT' })
}

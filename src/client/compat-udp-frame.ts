import { assertByte, assertBytes, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { toDestination } from '../codec/destination.js'
import { SocksError } from '../codec/errors.js'
import { decodeUdpDatagram, encodeUdpDatagram } from '../codec/udp-header.js'
import { MAX_DATAGRAM_BYTES } from '../udp/index.js'
import type { SocksUDPFrameDetails } from './compat-types.js'
import { parseTarget } from './idn.js'

/**
 * A datagram for the relay of a proxy. RFC 1928 section 7.
 * @throws TypeError, RangeError for a wrong type, and for more than fits a datagram; SocksError `ERR_SOCKS_INVALID_HOST`.
 */
export function createUDPFrame({ frameNumber, remoteHost, data }: SocksUDPFrameDetails): Buffer {
  const fragment = frameNumber ?? 0
  const { host, port } = remoteHost ?? {}
  assertByte(fragment, 'frameNumber')
  assertBytes(data, 'data')
  if (typeof host !== 'string') throw invalidArgument('remoteHost.host must be a string')
  if (!isPort(port)) throw outOfRange('remoteHost.port must be an integer from 0 to 65535')
  const bytes = encodeUdpDatagram({ fragment, address: parseTarget(host, port), payload: data })
  if (bytes.length > MAX_DATAGRAM_BYTES) throw outOfRange(`data does not fit a datagram of ${MAX_DATAGRAM_BYTES} bytes`)
  return asBuffer(bytes)
}

/**
 * Reads a datagram of the relay. `data` is a view into it, not a copy; the host is canonical.
 * @throws SocksError `ERR_SOCKS_CONNECTION_CLOSED` for a header that is cut short, `ERR_SOCKS_BAD_RESERVED`,
 * `ERR_SOCKS_BAD_ADDRESS_TYPE`, `ERR_SOCKS_INVALID_HOST`; TypeError for what is not bytes.
 */
export function parseUDPFrame(data: Uint8Array): SocksUDPFrameDetails {
  assertBytes(data, 'data')
  const datagram = decodeUdpDatagram(data)?.value
  if (datagram === undefined)
    throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the header of the datagram is cut short')
  if (data[0] !== 0 || data[1] !== 0) {
    throw new SocksError('ERR_SOCKS_BAD_RESERVED', 'the reserved bytes of the datagram are not zero')
  }
  const { host, port } = toDestination(datagram.address)
  return { frameNumber: datagram.fragment, remoteHost: { host, port }, data: asBuffer(datagram.payload) }
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

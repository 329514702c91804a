import { type Address, decodeAddress, encodeAddressBehind } from './address.js'
import { assertByte } from './arguments.js'
import { VERSION } from './constants.js'
import type { Decoded } from './decoded.js'
import { SocksError } from './errors.js'
import { checkVersion } from './version.js'

/** What a client asks for. RFC 1928 section 4. */
export interface Request {
  /** CMD byte: see `Command`; a peer may send any. */
  readonly command: number
  /** DST.ADDR and DST.PORT, unchecked beyond their framing. */
  readonly address: Address
}

/** How {@link decodeRequest} reads. */
export interface RequestOptions {
  /** Refuse a reserved byte that is not zero; by default it is ignored. */
  readonly strictReserved?: boolean | undefined
}

/** `05 CMD 00 ATYP DST.ADDR DST.PORT`. @throws as `encodeAddress` does; RangeError for a command that is no byte. */
export function encodeRequest({ command, address }: Request): Uint8Array {
  assertByte(command, 'command')
  return prefixAddress(VERSION, command, address)
}

/**
 * Reads a request. An unknown command is valid bytes: its address is read, so that it can be answered with 07.
 * @throws SocksError on a first byte that is not 05, `ERR_SOCKS_BAD_ADDRESS_TYPE`, `ERR_SOCKS_BAD_RESERVED`.
 */
export function decodeRequest(
  bytes: Uint8Array,
  offset = 0,
  { strictReserved = false }: RequestOptions = {},
): Decoded<Request> | undefined {
  checkVersion(bytes[offset])
  const command = bytes[offset + 1]
  const reserved = bytes[offset + 2]
  if (command === undefined || reserved === undefined) return undefined
  if (strictReserved && reserved !== 0) throw new SocksError('ERR_SOCKS_BAD_RESERVED', 'reserved byte is not zero')
  const address = decodeAddress(bytes, offset + 3)
  if (address === undefined) return undefined
  return { value: { command, address: address.value }, bytesRead: 3 + address.bytesRead }
}

/** Version, one byte, a zero and an address: the shape that requests and replies share. */
export function prefixAddress(version: number, code: number, address: Address): Uint8Array {
  const bytes = encodeAddressBehind(3, address)
  bytes[0] = version
  bytes[1] = code
  return bytes
}

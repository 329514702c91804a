import { assertByte, outOfRange } from './arguments.js'
import { VERSION } from './constants.js'
import type { Decoded } from './decoded.js'
import { checkVersion } from './version.js'

/** The client's first message: the authentication methods it can do. RFC 1928 section 3. */
export interface Greeting {
  /** Method codes, 0x00 to 0xff, in the client's order. A peer may send none, or one twice. */
  readonly methods: readonly number[]
}

/** The server's answer to a greeting: the one method to use, or 0xff for none of them. RFC 1928 section 3. */
export interface MethodSelection {
  readonly method: number
}

/** `05 NMETHODS METHODS`. @throws RangeError unless there are 1 to 255 methods, each a byte. */
export function encodeGreeting({ methods }: Greeting): Uint8Array {
  if (methods.length < 1 || methods.length > 255) throw outOfRange('a greeting names 1 to 255 methods')
  for (const method of methods) assertByte(method, 'method')
  return Uint8Array.of(VERSION, methods.length, ...methods)
}

/** Reads a greeting; an empty list of methods is valid bytes. @throws SocksError on a first byte that is not 05. */
export function decodeGreeting(bytes: Uint8Array, offset = 0): Decoded<Greeting> | undefined {
  checkVersion(bytes[offset])
  const count = bytes[offset + 1]
  if (count === undefined) return undefined
  const end = offset + 2 + count
  if (bytes.length < end) return undefined
  const methods: number[] = new Array(count)
  for (let index = 0; index < count; index++) methods[index] = bytes[offset + 2 + index] ?? 0
  return { value: { methods }, bytesRead: 2 + count }
}

/** `05 METHOD`. @throws RangeError for a method that is no byte. */
export function encodeMethodSelection({ method }: MethodSelection): Uint8Array {
  assertByte(method, 'method')
  return Uint8Array.of(VERSION, method)
}

/** Reads a method selection. @throws SocksError on a first byte that is not 05. */
export function decodeMethodSelection(bytes: Uint8Array, offset = 0): Decoded<MethodSelection> | undefined {
  checkVersion(bytes[offset])
  const method = bytes[offset + 1]
  return method === undefined ? undefined : { value: { method }, bytesRead: 2 }
}

import { assertByte, assertBytes, outOfRange } from './arguments.js'
import { AUTH_VERSION, VERSION } from './constants.js'
import type { Decoded } from './decoded.js'
import { SocksError } from './errors.js'

/** Username and password as the client sent them: bytes, 0 to 255 of each. RFC 1929 section 2. */
export interface Credentials {
  readonly username: Uint8Array
  readonly password: Uint8Array
}

/** The server's answer to credentials: 0 is success, 1 to 255 failure. RFC 1929 section 2. */
export interface UserPassStatus {
  readonly status: number
}

/** How {@link decodeCredentials} reads. */
export interface CredentialsOptions {
  /** Accept version 05 too, which some clients send where RFC 1929 says 01. Default `false`. */
  readonly lenientVersion?: boolean | undefined
}

/** `01 ULEN UNAME PLEN PASSWD`; see `credentialsFromText`. @throws TypeError for text; RangeError for a username or password over 255 bytes. */
export function encodeCredentials({ username, password }: Credentials): Uint8Array {
  assertBytes(username, 'username')
  assertBytes(password, 'password')
  if (username.length > 255) throw outOfRange('username is longer than 255 bytes')
  if (password.length > 255) throw outOfRange('password is longer than 255 bytes')
  const bytes = new Uint8Array(3 + username.length + password.length)
  bytes[0] = AUTH_VERSION
  bytes[1] = username.length
  bytes.set(username, 2)
  bytes[2 + username.length] = password.length
  bytes.set(password, 3 + username.length)
  return bytes
}

/** Reads credentials; both may be empty, and hold any byte. @throws SocksError `ERR_SOCKS_BAD_AUTH_VERSION`. */
export function decodeCredentials(
  bytes: Uint8Array,
  offset = 0,
  { lenientVersion = false }: CredentialsOptions = {},
): Decoded<Credentials> | undefined {
  checkAuthVersion(bytes[offset], lenientVersion)
  const usernameLength = bytes[offset + 1]
  if (usernameLength === undefined) return undefined
  const usernameEnd = offset + 2 + usernameLength
  const passwordLength = bytes[usernameEnd]
  if (passwordLength === undefined) return undefined
  const end = usernameEnd + 1 + passwordLength
  if (bytes.length < end) return undefined
  return {
    value: { username: copy(bytes, offset + 2, usernameEnd), password: copy(bytes, usernameEnd + 1, end) },
    bytesRead: end - offset,
  }
}

/** `01 STATUS`. @throws RangeError for a status that is no byte. */
export function encodeUserPassStatus({ status }: UserPassStatus): Uint8Array {
  assertByte(status, 'status')
  return Uint8Array.of(AUTH_VERSION, status)
}

/**
 * Reads the answer to credentials. Version 05 passes too: servers have sent it for years.
 * @throws SocksError `ERR_SOCKS_BAD_AUTH_VERSION` on any other first byte.
 */
export function decodeUserPassStatus(bytes: Uint8Array, offset = 0): Decoded<UserPassStatus> | undefined {
  checkAuthVersion(bytes[offset], true)
  const status = bytes[offset + 1]
  return status === undefined ? undefined : { value: { status }, bytesRead: 2 }
}

/** The bytes of a username and a password given as text. @throws RangeError for one over 255 bytes of UTF-8. */
export function credentialsFromText(username: string, password: string): Credentials {
  const encoder = new TextEncoder()
  const credentials = { username: encoder.encode(username), password: encoder.encode(password) }
  encodeCredentials(credentials)
  return credentials
}

/**
 * Credentials as text, or `undefined` when either is not valid UTF-8: a replacement character would merge users who
 * differ, and so would a byte order mark that the decoder swallows.
 */
export function credentialsToText({
  username,
  password,
}: Credentials): { username: string; password: string } | undefined {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  try {
    return { username: decoder.decode(username), password: decoder.decode(password) }
  } catch {
    return undefined
  }
}

function checkAuthVersion(byte: number | undefined, lenient: boolean): void {
  if (byte === undefined || byte === AUTH_VERSION || (lenient && byte === VERSION)) return
  throw new SocksError('ERR_SOCKS_BAD_AUTH_VERSION', 'expected version 1 of the RFC 1929 sub-negotiation')
}

/** A copy that owns its memory; `slice` of Node's Buffer would share it. */
function copy(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.subarray(start, end))
}

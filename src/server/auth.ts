import { createHash, timingSafeEqual } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { assertByte, invalidArgument, outOfRange } from '../codec/arguments.js'
import type { AuthChannel } from '../codec/auth-channel.js'
import { credentialsFromText, Method } from '../codec/index.js'
import type { Identity, Session } from './session.js'

/** "No authentication required", RFC 1928 method 00. */
export interface NoAuthMethod {
  readonly type: 'no-auth'
  readonly code: typeof Method.noAuth
}

/** Username and password, RFC 1929, RFC 1928 method 02. */
export interface UserPassMethod {
  readonly type: 'user-pass'
  readonly code: typeof Method.userPass
  readonly verify: Verifier
}

/** A method of the application's own, made by {@link customAuth}. */
export interface CustomMethod {
  readonly type: 'custom'
  readonly code: number
  readonly authenticate: Authenticator
}

/** A way for a client to say who it is: made by {@link noAuth}, {@link userPass}, {@link customAuth} or `gssapi`. */
export type AuthMethod = NoAuthMethod | UserPassMethod | CustomMethod

/**
 * Talks to a client that has chosen the method. Resolves to what admits it, or to anything else to deny; before denying it
 * may write whatever its own protocol says to a client that is turned away. A throw and a rejection deny.
 */
export type Authenticator = (channel: AuthChannel, session: Session) => AuthResult | Promise<AuthResult>

type AuthResult = Authenticated | false | null | undefined

/** A client that a custom method admits. */
export interface Authenticated {
  readonly identity: Identity
  /**
   * Put around the client's stream for all that follows: TLS, encryption per message. The stream is idle, and begins with
   * what the method did not read. What is returned owns it from then on, and is destroyed with the connection; it should
   * close only when all that was written to it was handed to the stream. A throw, a rejection and anything but a Duplex of
   * bytes end the connection.
   */
  readonly wrap?: ((stream: Duplex) => Duplex | Promise<Duplex>) | undefined
}

/**
 * Judges credentials. `true` admits as `{ username }`, an object admits as that identity; anything else, a throw or a
 * rejection denies. `session.signal` aborts when the client is gone.
 */
export type Verifier = (username: string, password: string, session: Session) => Verdict | Promise<Verdict>

type Verdict = boolean | object | null | undefined

/** Everybody may come in. The default. */
export function noAuth(): NoAuthMethod {
  return { type: 'no-auth', code: Method.noAuth }
}

/**
 * Username and password by RFC 1929. Credentials that are not UTF-8 are refused without asking.
 * @param users a {@link Verifier}, or the passwords by name, which are compared in constant time.
 * @throws TypeError for anything else; RangeError for a name or password over 255 bytes, which could never match.
 */
export function userPass(users: Verifier | Readonly<Record<string, string>>): UserPassMethod {
  return {
    type: 'user-pass',
    code: Method.userPass,
    verify: typeof users === 'function' ? users : tableVerifier(users),
  }
}

/**
 * A method with a sub-negotiation of its own.
 * @param code 0x80 to 0xfe are private (RFC 1928 section 3), 0x01 and 0x03 to 0x7f assigned by IANA.
 * @throws RangeError for a code that has a meaning already; TypeError for what is no function.
 */
export function customAuth(code: number, authenticate: Authenticator): CustomMethod {
  assertByte(code, 'code')
  if (code === Method.noAuth || code === Method.userPass || code === Method.noAcceptable) {
    throw outOfRange('code must not be that of no authentication, username and password, or no acceptable method')
  }
  if (typeof authenticate !== 'function') throw invalidArgument('customAuth takes a code and a function')
  return { type: 'custom', code, authenticate }
}

/** Names are looked up and passwords compared as digests, so that time tells neither a prefix nor which names exist. */
function tableVerifier(users: Readonly<Record<string, string>>): Verifier {
  // A Map or an array has no own names: it would deny everybody without a word.
  if (!isPlainObject(users)) throw invalidArgument('userPass takes a function or a plain object of passwords by name')
  const passwords = new Map<string, Buffer>()
  for (const [name, password] of Object.entries(users)) {
    if (typeof password !== 'string') throw invalidArgument('passwords must be strings')
    assertFits(name, password)
    passwords.set(digest(name).toString('base64'), digest(password))
  }
  const nobody = digest('')
  return (username, password) => {
    const expected = passwords.get(digest(username).toString('base64'))
    const matches = timingSafeEqual(digest(password), expected ?? nobody)
    return matches && expected !== undefined
  }
}

function isPlainObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null
}

function assertFits(name: string, password: string): void {
  try {
    credentialsFromText(name, password)
  } catch {
    // Said anew: the name is the application's to print, not ours.
    throw outOfRange('a username and a password are at most 255 bytes of UTF-8 each')
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text, 'utf8').digest()
}

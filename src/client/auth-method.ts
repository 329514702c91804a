import { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { assertByte, invalidArgument, outOfRange } from '../codec/arguments.js'
import { type AuthChannel, type ByteSource, OwnedChannel } from '../codec/auth-channel.js'
import { Method } from '../codec/constants.js'
import { isSocksError, SocksError, type SocksErrorCode } from '../codec/errors.js'
import { isByteStream } from '../stream/byte-stream.js'
import { guard } from '../stream/handover.js'
import { safeCause } from './failure.js'
import { opened } from './transport.js'

/** A way of the application's own to say to a proxy who we are, made by {@link customMethod}. */
export interface ClientMethod {
  readonly type: 'custom-method'
  readonly code: number
  readonly authenticate: ClientAuthenticator
}

/** What a method may look at beside its channel. */
export interface ClientMethodContext {
  /** Aborts when the connection is gone: the deadline, the caller's own abort, or the proxy. */
  readonly signal: AbortSignal
}

/**
 * Talks to a proxy that has chosen the method. Resolves to nothing, or to `{ wrap }`, once the proxy has let us in, and to
 * `false` when it has not. A throw and a rejection end the attempt.
 */
export type ClientAuthenticator = (
  channel: AuthChannel,
  context: ClientMethodContext,
) => ClientAuthResult | Promise<ClientAuthResult>

/** See {@link ClientAuthenticator}. */
export type ClientAuthResult = ClientAuthenticated | false | undefined

/** What a method has come to. */
export interface ClientAuthenticated {
  /**
   * Put around the connection for all that follows, the request included: TLS, encryption per message. The stream is idle,
   * and begins with what the method did not read. What is returned owns it from then on, and is what `connect` resolves to.
   * TLS that is still being agreed on is waited for. A throw, a rejection and anything but a Duplex of bytes end the attempt.
   */
  readonly wrap?: ((stream: Duplex) => Duplex | Promise<Duplex>) | undefined
}

/**
 * A method with a sub-negotiation of its own, for `auth` of a proxy; the other half of the server's `customAuth`.
 * @param code 0x80 to 0xfe are private (RFC 1928 section 3), 0x01 and 0x03 to 0x7f assigned by IANA.
 * @throws RangeError for a code that has a meaning already; TypeError for what is no function.
 */
export function customMethod(code: number, authenticate: ClientAuthenticator): ClientMethod {
  assertByte(code, 'code')
  if (code === Method.noAuth || code === Method.userPass || code === Method.noAcceptable) {
    throw outOfRange('code must not be that of no authentication, username and password, or no acceptable method')
  }
  if (typeof authenticate !== 'function') throw invalidArgument('customMethod takes a code and a function')
  return Object.freeze({ type: 'custom-method', code, authenticate })
}

/** @throws TypeError for what {@link customMethod} has not made; RangeError as it does. */
export function checkMethod(method: ClientMethod): ClientMethod {
  // A server's method has the same shape, and would not be understood.
  if (method?.type !== 'custom-method') throw invalidArgument("proxy option 'auth' takes what customMethod() returns")
  return customMethod(method.code, method.authenticate)
}

/** One run of a method, over a connection that somebody else owns. */
export class MethodRun {
  readonly #channel: OwnedChannel
  readonly #aborter = new AbortController()

  constructor(source: ByteSource, send: (bytes: Uint8Array) => void) {
    this.#channel = new OwnedChannel(source, send)
  }

  /**
   * Resolves when the proxy has let us in; the channel is over then.
   * @throws SocksError (rejects) `ERR_SOCKS_AUTH_FAILED` for `false`, `ERR_SOCKS_HOOK_FAILED` for what is the method's own fault.
   */
  async authenticate({ authenticate }: ClientMethod): Promise<ClientAuthenticated> {
    const result = await asHook(() => authenticate(this.#channel, { signal: this.#aborter.signal }))
    this.#channel.end(new SocksError('ERR_SOCKS_ILLEGAL_MESSAGE', 'the authentication is over'))
    if (result === false) throw new SocksError('ERR_SOCKS_AUTH_FAILED', 'the method was refused by the proxy')
    if (result === undefined) return {}
    if (isAuthenticated(result)) return result
    throw hookFailed(new TypeError('a custom method returns { wrap? } or nothing, or false'))
  }

  /** The source has bytes, or its end. */
  onReadable(): void {
    this.#channel.onReadable()
  }

  /** The connection is gone. */
  end(failure: Error): void {
    this.#channel.end(failure)
    this.#aborter.abort(failure)
  }
}

/**
 * Puts a method's own stream around the connection's. `own` is told of what was made as soon as it is there; where it says
 * no, because nobody waits any more, that is destroyed.
 * @throws SocksError (rejects) `ERR_SOCKS_HOOK_FAILED`.
 */
export async function wrapStream(
  wrap: NonNullable<ClientAuthenticated['wrap']>,
  stream: Duplex,
  own: (wrapped: Duplex) => boolean,
): Promise<Duplex> {
  const wrapped = await asHook(() => wrap(stream))
  if (wrapped instanceof Duplex) {
    guard(wrapped)
    if (!own(wrapped) || !isByteStream(wrapped)) wrapped.destroy()
  }
  if (!isByteStream(wrapped) || wrapped.destroyed) {
    throw hookFailed(new TypeError('wrap returns a Duplex of bytes that is not destroyed'))
  }
  const event = pendingEvent(wrapped)
  // A proxy that is not yet known to be the right one is told nothing.
  if (event !== undefined) await asHook(() => opened(wrapped, event))
  return wrapped
}

/** Which event says that a socket is ready; `undefined` when it is, or is no socket. */
function pendingEvent(stream: Duplex): 'connect' | 'secureConnect' | undefined {
  if (!(stream instanceof Socket)) return undefined
  // TLSSocket tells this in a property that its type does not name.
  if (Reflect.get(stream, 'secureConnecting') === true) return 'secureConnect'
  return stream.connecting ? 'connect' : undefined
}

/** Errors that say all there is to say, of the proxy or of the method itself. */
const NAMED: ReadonlySet<SocksErrorCode> = new Set<SocksErrorCode>([
  'ERR_SOCKS_CONNECTION_CLOSED',
  'ERR_SOCKS_AUTH_FAILED',
  'ERR_SOCKS_HOOK_FAILED',
])

/** Calls what the application supplied. Whatever it throws or rejects with is told as a failure of its own. */
async function asHook(hook: () => unknown): Promise<unknown> {
  try {
    return await hook()
  } catch (error) {
    if (isSocksError(error) && NAMED.has(error.code)) throw error
    throw hookFailed(error)
  }
}

function hookFailed(cause: unknown): SocksError {
  return new SocksError('ERR_SOCKS_HOOK_FAILED', 'the custom method failed', { cause: safeCause(cause) })
}

function isAuthenticated(result: unknown): result is ClientAuthenticated {
  if (typeof result !== 'object' || result === null || Array.isArray(result) || result instanceof Error) return false
  const wrap: unknown = Reflect.get(result, 'wrap')
  return wrap === undefined || typeof wrap === 'function'
}

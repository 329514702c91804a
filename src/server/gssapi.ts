import type { Duplex } from 'node:stream'
import { assertOptions, invalidArgument } from '../codec/arguments.js'
import type { AuthChannel } from '../codec/auth-channel.js'
import { encodeGssapiFrame, GssapiMessageType, Method, ProtectionLevel, SocksError } from '../codec/index.js'
import { type Authenticated, type CustomMethod, customAuth } from './auth.js'
import { isIdentity } from './authenticate.js'
import {
  asBytes,
  badFrame,
  FrameReader,
  frameOf,
  GssapiStream,
  type MessageProtection,
  unwrapToken,
  wrapMessage,
} from './gssapi-stream.js'
import type { Identity, Session } from './session.js'

/**
 * What protects the messages that follow (RFC 1961 section 4.2): `integrity` is level 1, `confidentiality` level 2, which
 * includes integrity. `selective` (level 3) leaves it to each side, message by message: this one encrypts all it sends, and
 * accepts both. `none` (level 0, not in the RFC; curl asks for it) leaves all that follows in the clear, and unprotected.
 */
export type ProtectionName = keyof typeof ProtectionLevel

/** What a mechanism makes of a client's token. */
export interface GssStep {
  /** Sent to the client, at most 65535 bytes; without one an empty token is sent. */
  readonly token?: Uint8Array | undefined
  /** Who the client is: the context is established. Without it another token of the client is waited for. */
  readonly identity?: Identity | undefined
}

/** A security context of the application's own mechanism, for one client. */
export interface GssContext extends MessageProtection {
  /**
   * Takes a token of the client, which may be empty: GSS_Accept_sec_context (RFC 2743 section 2.2.2). `false`, `null`,
   * `undefined`, a throw and a rejection deny; the latter two are told by an `error` event, too, unless it is a
   * `SocksError` `ERR_SOCKS_AUTH_FAILED`.
   */
  accept(token: Uint8Array): GssStep | false | null | undefined | Promise<GssStep | false | null | undefined>
  /**
   * Bytes of the longest message whose token fits into 65535 bytes (GSS_Wrap_size_limit), 1 to 65535. Default 16,384: far
   * enough from the limit for any mechanism's overhead, and long enough for that not to matter.
   */
  readonly maxMessage?: number | undefined
  /**
   * Frees what the context holds. Called exactly once, when the connection is over, whatever came of it; also while an
   * `accept`, `wrap` or `unwrap` that returned a promise is pending, whose result is then dropped. What it throws is dropped.
   */
  dispose?(): unknown
}

/** Options of {@link gssapi}. */
export interface GssapiOptions {
  /** Makes the context of a client that has chosen the method. A throw and a rejection deny. */
  createContext(session: Session): GssContext | Promise<GssContext>
  /**
   * The protection that is acceptable, the server's own choice first. A client gets what it asks for if that is among it,
   * else the answer names the first, and it is the client's turn to go (RFC 1961 section 4.3).
   * Default `['confidentiality', 'integrity']`: nothing that could be read *and* changed under way unless you say so.
   */
  readonly protection?: readonly ProtectionName[] | undefined
  /**
   * Accept a level that is not wrapped, and answer in kind, as the NEC reference implementation does (curl:
   * `--socks5-gssapi-nec`). Who sits between can then change it, to anything that is in `protection`. Default `false`.
   */
  readonly lenientProtection?: boolean | undefined
}

/**
 * Enough for every mechanism (Kerberos takes one to three tokens, SPNEGO a few more), and an end to a client and a
 * mechanism that never come to one.
 */
const MAX_ROUNDS = 32

const DEFAULT_MAX_MESSAGE = 16_384

const NOTHING: Uint8Array = new Uint8Array(0)

/** `01 FF`. RFC 1961 section 3.8. */
const ABORT = encodeGssapiFrame({ type: GssapiMessageType.abort, token: NOTHING })

/**
 * GSSAPI, RFC 1961: method 01. The framing is done here; the mechanism, and with it every call of GSS, is the application's.
 * A client that is denied, or whose frames are wrong, is sent an abort (`01 FF`) before the connection is closed.
 * @throws TypeError for options that are unknown or of a wrong type.
 */
export function gssapi(options: GssapiOptions): CustomMethod {
  const settings = gssapiSettings(options)
  return customAuth(Method.gssapi, async (channel, session) => {
    try {
      return await negotiate(settings, channel, session)
    } catch (error) {
      channel.write(ABORT)
      throw error
    }
  })
}

interface Settings {
  readonly createContext: GssapiOptions['createContext']
  readonly acceptable: readonly ProtectionName[]
  readonly preferred: ProtectionName
  readonly lenientProtection: boolean
}

const NAMES = Object.keys(ProtectionLevel) as ProtectionName[] // Object.keys forgets the names of a closed object

function gssapiSettings(options: GssapiOptions): Settings {
  assertOptions(options, ['createContext', 'protection', 'lenientProtection'])
  const { createContext, protection = ['confidentiality', 'integrity'], lenientProtection = false } = options
  if (typeof createContext !== 'function') throw invalidArgument('option createContext must be a function')
  if (typeof lenientProtection !== 'boolean') throw invalidArgument('option lenientProtection must be a boolean')
  const acceptable = Array.isArray(protection) ? [...protection] : []
  const [preferred] = acceptable
  if (preferred === undefined || acceptable.some((name) => !NAMES.includes(name))) {
    throw invalidArgument(`option protection takes a list of ${NAMES.join(', ')}`)
  }
  return { createContext: (session) => options.createContext(session), acceptable, preferred, lenientProtection }
}

async function negotiate(settings: Settings, channel: AuthChannel, session: Session): Promise<Authenticated> {
  const context = new LeasedContext(await settings.createContext(session), session.signal)
  context.check()
  const identity = await establish(context, channel)
  const level = await agree(settings, context, channel)
  return { identity, wrap: level === 'none' ? undefined : (stream) => context.protect(stream, level) }
}

/** RFC 1961 section 3. */
async function establish(context: LeasedContext, channel: AuthChannel): Promise<Identity> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const { authentication } = GssapiMessageType
    const step: unknown = await context.accept(await receive(channel, authentication))
    if (step === false || step === null || step === undefined) throw authFailed('the mechanism denied the client')
    const { token = NOTHING, identity } = checkedStep(step)
    // Without a token, too: an empty one tells the client that it is its turn. RFC 1961 section 3.7.
    channel.write(frameOf(authentication, token))
    if (identity !== undefined) return identity
  }
  throw authFailed(`no context is established after ${MAX_ROUNDS} tokens`)
}

/** RFC 1961 section 4. */
async function agree(settings: Settings, context: LeasedContext, channel: AuthChannel): Promise<ProtectionName> {
  const { acceptable, preferred, lenientProtection } = settings
  const token = await receive(channel, GssapiMessageType.protection)
  // The token of an octet is longer than the octet.
  const isPlain = lenientProtection && token.length === 1
  const message = isPlain ? token : await unwrapToken(context, token, false)
  const wanted = NAMES.find((name) => ProtectionLevel[name] === message[0])
  if (message.length !== 1 || wanted === undefined) throw badFrame('expected the one octet of a protection level')
  const level = acceptable.includes(wanted) ? wanted : preferred
  const answer = Uint8Array.of(ProtectionLevel[level])
  channel.write(frameOf(GssapiMessageType.protection, isPlain ? answer : await wrapMessage(context, answer, false)))
  return level
}

/** The token of the client's next frame. What came behind it stays unread. */
async function receive(channel: AuthChannel, type: number): Promise<Uint8Array> {
  const frames = new FrameReader()
  for (;;) {
    const frame = frames.next()
    if (frame !== undefined) {
      channel.unread(frames.rest)
      if (frame.type === GssapiMessageType.abort) throw authFailed('the client aborted the negotiation')
      if (frame.type !== type) throw badFrame(`expected a message of type ${type}`)
      return frame.token
    }
    const chunk = await channel.read()
    if (chunk === undefined) {
      throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the client left in the middle of the handshake')
    }
    frames.push(chunk)
  }
}

function checkedStep(step: unknown): GssStep {
  // An identity is what a step is, too: an object that no code returns for "no".
  if (!isIdentity(step)) throw new TypeError('accept returns { token?, identity? }, or false')
  const { token, identity } = step
  if (identity !== undefined && !isIdentity(identity)) throw new TypeError('accept returns an object as identity')
  return { token: token === undefined ? undefined : asBytes(token, 'accept'), identity }
}

/** A context from its making to the end of its connection: what comes to an end after it does not reach the context. */
class LeasedContext implements MessageProtection {
  readonly #context: GssContext
  readonly #signal: AbortSignal
  #isDisposed = false

  constructor(context: GssContext, signal: AbortSignal) {
    this.#context = context
    this.#signal = signal
    if (signal.aborted) this.#dispose()
    else signal.addEventListener('abort', this.#dispose, { once: true })
  }

  /** @throws TypeError for what is no context. */
  check(): void {
    const context = this.#context
    for (const name of ['accept', 'wrap', 'unwrap'] as const) {
      if (typeof context?.[name] !== 'function') throw new TypeError('createContext returns { accept, wrap, unwrap }')
    }
    const { maxMessage = DEFAULT_MAX_MESSAGE } = context
    if (!Number.isInteger(maxMessage) || maxMessage < 1 || maxMessage > 0xffff) {
      throw new TypeError('maxMessage of a context is an integer from 1 to 65535')
    }
  }

  accept(token: Uint8Array): ReturnType<GssContext['accept']> {
    return this.#live.accept(token)
  }

  wrap(message: Uint8Array, confidential: boolean): Uint8Array | Promise<Uint8Array> {
    return this.#live.wrap(message, confidential)
  }

  unwrap(token: Uint8Array, confidential: boolean): Uint8Array | Promise<Uint8Array> {
    return this.#live.unwrap(token, confidential)
  }

  /** The stream that protects what follows. The context lives as long as it does: last answers go through it, too. */
  protect(stream: Duplex, level: Exclude<ProtectionName, 'none'>): GssapiStream {
    this.#signal.removeEventListener('abort', this.#dispose)
    return new GssapiStream(stream, this, {
      seals: level !== 'integrity',
      demandsSeal: level === 'confidentiality',
      maxMessage: this.#context.maxMessage ?? DEFAULT_MAX_MESSAGE,
      onClose: this.#dispose,
    })
  }

  get #live(): GssContext {
    if (this.#isDisposed) throw new SocksError('ERR_SOCKS_ABORTED', 'the connection has ended')
    return this.#context
  }

  readonly #dispose = (): void => {
    if (this.#isDisposed) return
    this.#isDisposed = true
    // An executor turns a throw into a rejection. Nobody is left to be told.
    new Promise((resolve) => resolve(this.#context?.dispose?.())).catch(() => {})
  }
}

function authFailed(message: string): SocksError {
  return new SocksError('ERR_SOCKS_AUTH_FAILED', message, { rule: 'auth' })
}

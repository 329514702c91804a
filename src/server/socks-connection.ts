import { OwnedChannel as ServerSideChannel } from '../codec/auth-channel.js'
import {
  type Address,
  AuthStatus,
  Command,
  type Credentials,
  ReplyCode,
  replyError,
  type ServerEvent,
  type ServerRequest,
  ServerSession,
  SocksError,
  UNSPECIFIED_ADDRESS,
} from '../codec/index.js'
import type { ReusedReader } from '../stream/reused-reader.js'
import type { Arrival } from './arrival.js'
import type { Authenticated, AuthMethod, CustomMethod } from './auth.js'
import { authenticate, identify, identifyUserId, NOBODY, wrapStream } from './authenticate.js'
import { ClientConnection } from './client-connection.js'
import { COMMAND_NAMES, type CommandName, HANDLERS, type Way } from './commands.js'
import type { CloseReason, RequestInfo } from './events.js'
import { GssapiStream } from './gssapi-stream.js'
import { lastAnswer } from './last-answer.js'
import type { ServerSettings } from './options.js'
import type { OutboundTarget } from './request.js'
import type { Association } from './udp.js'

/** Drives one ServerSession over one stream, from the greeting to the end of the tunnel. */
export class SocksConnection extends ClientConnection {
  readonly #settings: ServerSettings
  #protocol: ServerSession
  #method: AuthMethod | undefined
  #channel: ServerSideChannel | undefined
  #sawEnd = false

  constructor(arrival: Arrival, settings: ServerSettings) {
    // Methods of the application's own, and what takes clients that speak no SOCKS, are given the stream itself.
    const isShared = settings.fallback !== undefined || settings.auth.some(({ type }) => type === 'custom')
    super({ ...arrival, isOwn: arrival.isOwn && !isShared }, settings)
    this.#settings = settings
    this.#protocol = new ServerSession(settings.protocol)
  }

  protected override step(): boolean {
    const event = this.#protocol.nextEvent()
    if (event !== undefined) {
      this.#handle(event)
      return true
    }
    const chunk = this.handshake.read()
    if (chunk !== undefined) {
      if (!this.sawBytes && this.#isForeign(chunk)) return false
      this.sawBytes = true
      this.#protocol.receive(chunk)
      return true
    }
    if (!this.handshake.ended || this.#sawEnd) return false
    this.#sawEnd = true
    this.#protocol.receiveEnd()
    return true
  }

  override onReadable(): void {
    if (this.#channel === undefined) super.onReadable()
    else this.#channel.onReadable()
  }

  /** By where the handshake stands, not by the error alone: an upstream's refusal of our login is none of the client's. */
  protected override reasonFor({ code }: SocksError): CloseReason {
    if (code === 'ERR_SOCKS_HANDSHAKE_TIMEOUT') return 'handshake-timeout'
    if (this.session.identity === undefined && code === 'ERR_SOCKS_AUTH_FAILED') return 'auth-failed'
    const { state } = this.#protocol
    // A request without an identity is one of SOCKS4, whose USERID did not admit it.
    const isUserId = state === 'judging-request' && this.session.identity === undefined
    return isUserId || state === 'choosing-method' || state === 'judging-credentials' || state === 'authenticating'
      ? 'auth-failed'
      : 'refused'
  }

  protected override answerTo(error: SocksError): Uint8Array | undefined {
    return lastAnswer(this.#protocol, error)
  }

  /** Hands a client over whose first byte is no SOCKS, if there is somebody to take it. */
  #isForeign(chunk: Uint8Array): boolean {
    const { fallback } = this.#settings
    if (fallback === undefined || chunk[0] === 0x05 || chunk[0] === 0x04) return false
    this.handOver(chunk, fallback)
    return true
  }

  #handle(event: ServerEvent): void {
    switch (event.type) {
      case 'greeting':
        this.#chooseMethod(event.methods)
        return
      case 'credentials':
        this.judge(this.#protocol.takeRemaining(), () => this.#verify(event.credentials))
        return
      case 'request':
        this.judge(this.#protocol.takeRemaining(), () => this.#serve(event))
        return
      case 'end':
        this.destroy('empty')
        return
      case 'authData':
        throw new TypeError('the channel of the method takes all bytes')
    }
  }

  #chooseMethod(offered: readonly number[]): void {
    const method = this.#settings.auth.find(({ code }) => offered.includes(code))
    if (method === undefined) {
      throw new SocksError('ERR_SOCKS_NO_ACCEPTABLE_METHOD', 'the client offers no method that this server accepts', {
        rule: 'auth',
      })
    }
    this.#method = method
    if (method.type === 'no-auth') this.session.identity = NOBODY
    this.stream.write(this.#protocol.send({ type: 'method', method: method.code }))
    if (method.type === 'custom') this.#openChannel(method)
  }

  async #verify(credentials: Credentials): Promise<void> {
    this.session.keepCredentials(credentials)
    if (this.#method === undefined) return
    try {
      const identity = await identify(this.#method, credentials, this.session)
      if (this.phase !== 'judging') return
      this.session.identity = identity
    } catch (error) {
      this.refuse(error, this.#settings.authFailureDelayMs)
      return
    }
    this.stream.write(this.#protocol.send({ type: 'authStatus', status: AuthStatus.success }))
    this.phase = 'handshake'
    this.pump()
  }

  #openChannel(method: CustomMethod): void {
    const channel = new ServerSideChannel(this.handshake, (data) => {
      if (this.phase === 'judging') this.stream.write(this.#protocol.send({ type: 'authData', data }))
    })
    this.#channel = channel
    this.judge(this.#protocol.takeRemaining(), async () => {
      try {
        await this.#authenticate(method, channel)
      } finally {
        this.#channel = undefined
        channel.end(channelOver())
      }
      if (this.phase !== 'judging') return
      this.phase = 'handshake'
      this.pump()
    })
  }

  async #authenticate(method: CustomMethod, channel: ServerSideChannel): Promise<void> {
    const { identity, wrap } = await authenticate(method, channel, this.session)
    if (this.phase !== 'judging') return
    channel.end(channelOver())
    this.#protocol.send({ type: 'authEnd' })
    if (wrap !== undefined) await this.#wrap(wrap)
    this.session.identity = identity
  }

  async #wrap(wrap: NonNullable<Authenticated['wrap']>): Promise<void> {
    this.handshake.release()
    // The stream is idle in the next tick.
    await new Promise<void>((resolve) => process.nextTick(resolve))
    // Nobody would tell the wrapper of an end that has passed.
    if (this.stream.readableEnded) {
      throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the client left in the middle of the handshake')
    }
    const wrapped = await wrapStream(wrap, this.stream, this.session)
    if (this.phase === 'judging') this.replaceStream(wrapped)
    else wrapped.destroy()
  }

  async #serve(request: ServerRequest): Promise<void> {
    const { session } = this
    if (request.userId !== undefined) {
      try {
        session.identity = await this.#identifySocks4(request.userId)
      } catch (error) {
        this.refuse(error, this.#settings.authFailureDelayMs)
        return
      }
      if (this.phase !== 'judging') return
    }
    this.clearDeadline()
    this.observer.requested()
    session.destination = request.destination
    const name = this.#servedCommand(request)
    const { identity, clientAddress } = session
    // The session and its transition table make this impossible; it is checked where it matters all the same.
    if (identity === undefined) throw replyError(ReplyCode.notAllowed, 'not authenticated', { rule: 'auth' })
    const { destination } = request
    const command = name === 'udp-associate' ? 'udp' : name
    session.command = command
    const info: RequestInfo = { session, command, identity, destination }
    this.observer.request(info)
    const { host, port } = destination
    const target = { host, port, identity, session, clientAddress }
    await (name === 'connect'
      ? this.#connect(target, info)
      : this.#command(name, request.userId === undefined ? 5 : 4, target, info))
  }

  /** Every command but CONNECT. */
  #command(
    name: Exclude<CommandName, 'connect'>,
    version: 4 | 5,
    target: OutboundTarget,
    info: RequestInfo,
  ): Promise<void> {
    return HANDLERS[name](
      {
        settings: this.#settings,
        version,
        stream: this.stream,
        isWaiting: () => this.phase === 'judging',
        listening: (bound) => this.#listening(bound, info),
        denied: (error, denied) => this.observer.denied(error, denied),
        associated: (association, bound) => this.#associated(association, bound, info),
        established: (way) => this.#established(way, info),
      },
      { ...target, signal: this.session.signal },
    )
  }

  /** CONNECT, which ends with the session: no signal needs to be made. */
  #connect(target: OutboundTarget, info: RequestInfo): Promise<void> {
    const reader = this.readerFor()
    return this.#settings.outbound.connectBy(reader, target).then((way) => {
      if (this.phase === 'judging') this.#established(way, info, reader)
      else way.stream.destroy()
    })
  }

  /** The name of the command that is asked for. @throws SocksError when it is not served. */
  #servedCommand({ command, userId }: ServerRequest): CommandName {
    const name = COMMAND_NAMES[command]
    // SOCKS4 knows no datagrams, and its reply has no room for a name.
    const fits = userId === undefined || (command !== Command.udpAssociate && command !== Command.resolvePtr)
    // Datagrams would have to be protected, too (RFC 1961 section 5), and the relay does not do that.
    const isBare = command === Command.udpAssociate && this.stream instanceof GssapiStream
    if (name !== undefined && fits && !isBare && this.#settings.commands.has(name)) return name
    const what = name ?? `0x${command.toString(16).padStart(2, '0')}`
    throw replyError(ReplyCode.commandNotSupported, `command ${what} is not served`, { rule: 'commands' })
  }

  #identifySocks4(userId: Uint8Array) {
    const { socks4, auth } = this.#settings
    if (typeof socks4 === 'function') return identifyUserId(socks4, userId, this.session)
    if (auth.some(({ type }) => type === 'no-auth')) return identifyUserId(undefined, userId, this.session)
    throw new SocksError('ERR_SOCKS_AUTH_FAILED', 'SOCKS4 has no passwords', { rule: 'auth' })
  }

  /** The first reply of a BIND. What the client sends from here on is its peer's. */
  #listening(bound: Address, info: RequestInfo): void {
    this.#reply(bound)
    this.watchesEnd = true
    this.observer.listening({ ...info, bound })
    this.onReadable()
  }

  #associated(association: Association, bound: Address, info: RequestInfo): void {
    this.#reply(bound)
    this.associate(association, { ...info, bound, rules: [] })
  }

  #established({ stream, bound, rules }: Way, info: RequestInfo, reader?: ReusedReader): void {
    this.watchesEnd = false
    const { session, command, identity, destination } = info
    const established = { session, command, identity, destination, bound, rules }
    if (stream === undefined) {
      this.observer.established(established)
      this.finish(this.#protocol.send({ type: 'reply', code: ReplyCode.succeeded, bound }))
      return
    }
    const isHidden = this.#settings.hideBoundAddress && info.command === 'connect'
    // One write for the whole reply, before any byte of the target: clients read the first segment as a whole.
    this.#reply(isHidden ? UNSPECIFIED_ADDRESS : bound)
    this.open(stream, established, reader)
    // It is memory that a tunnel has no use for.
    this.#protocol = SPENT
  }

  #reply(bound: Address): void {
    this.stream.write(this.#protocol.send({ type: 'reply', code: ReplyCode.succeeded, bound }))
  }
}

/** What a connection has that says nothing of its own any more. */
const SPENT = new ServerSession()

function channelOver(): SocksError {
  return new SocksError('ERR_SOCKS_ILLEGAL_MESSAGE', 'the authentication is over')
}

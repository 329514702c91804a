import { Duplex } from 'node:stream'
import { assertOptions, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import {
  type Address,
  classifyIP,
  type Destination,
  formatDestination,
  parseDestination,
  parseIP,
  ReplyCode,
  SocksError,
} from '../codec/index.js'
import { isByteStream } from '../stream/byte-stream.js'
import { guard } from '../stream/handover.js'
import { boundOf, type Candidate, dialDirect, whenConnected } from './dial.js'
import { defaultEgress, type EgressPolicy } from './egress.js'
import { hookError, Operation, untilAborted } from './operation.js'
import { assertOptionTypes, OUTBOUND_OPTION_TYPES } from './option-types.js'
import { OwnAddresses } from './own-addresses.js'
import { dialError } from './reply-code.js'
import { isUnspecified, type Lookup, resolveDestination } from './resolve.js'
import type { Identity, Session } from './session.js'

/** What a client asks for, as rules and dialers see it. `type`, `host` and `port` are canonical (see `Destination`). */
export interface OutboundRequest extends Destination {
  readonly command: 'connect'
  readonly identity: Identity
  readonly clientAddress: string | undefined
  /** The SOCKS session, where the request came through one. */
  readonly session: Session | undefined
  /** Aborts when the client is gone or the time is up: stop what you do. */
  readonly signal: AbortSignal
  /** With `resolve: true`: the addresses that were looked up and allowed. */
  readonly addresses?: readonly string[]
}

/** What a dialer returns: a stream, or one with the address it is bound to at the far side of this proxy. */
export type DialResult =
  | Duplex
  | { readonly stream: Duplex; readonly bound?: { readonly host: string; readonly port: number } }

/** Replaces the direct dialer. Gets the name unresolved. A `SocksError` with a `replyCode` is passed on to the client. */
export type Dial = (request: OutboundRequest) => DialResult | Promise<DialResult>

/** Judges a request before DNS. Only `true` admits; a number from 1 to 8 denies with that reply code, all else with 02. */
export type Authorize = (request: OutboundRequest) => boolean | number | Promise<boolean | number>

/** Options of {@link createOutbound}. */
export interface OutboundOptions {
  readonly authorize?: Authorize | undefined
  /** Judges each resolved address. Default: a loopback client may reach anything, any other `egress.noLocal()`. */
  readonly egress?: EgressPolicy | undefined
  /** Replaces `dns.lookup`, with its signature. */
  readonly lookup?: Lookup | undefined
  /** IP address to dial from. */
  readonly localAddress?: string | undefined
  readonly dial?: Dial | undefined
  /** Beside `dial`: look names up first, judge each address by `egress` and pass `request.addresses`. Default `false`. */
  readonly resolve?: boolean | undefined
  /** Milliseconds for rules, lookup and connect together; 0 is no limit. Default 30,000. */
  readonly dialTimeoutMs?: number | undefined
}

/** Where to go, and on whose behalf. */
export interface OutboundTarget {
  readonly host: string
  readonly port: number
  readonly clientAddress?: string | undefined
  readonly identity?: Identity | undefined
  readonly session?: Session | undefined
  /** Ends the attempt; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** A connected way out. */
export interface OutboundConnection {
  /** Idle: nothing is lost before a listener is attached. */
  readonly stream: Duplex
  /** Near address of the connection; 0.0.0.0:0 where there is none to tell. */
  readonly bound: Address
}

/** The way out that front doors share: authorize, look up, judge each address, dial what was judged. */
export function createOutbound(options: OutboundOptions = {}): Outbound {
  return new Outbound(options)
}

/** See {@link createOutbound}. */
export class Outbound {
  /** @internal Listeners that must not be dialed. */
  readonly ownAddresses: OwnAddresses = new OwnAddresses()
  readonly #options: OutboundOptions

  /**
   * Use {@link createOutbound}.
   * @throws TypeError for `egress` beside `dial` without `resolve`: names would pass it unseen.
   */
  constructor(options: OutboundOptions) {
    assertOptionTypes(options, OUTBOUND_OPTION_TYPES)
    const { dial, egress, resolve = false, localAddress } = options
    if (dial !== undefined && egress !== undefined && !resolve) {
      throw invalidArgument('egress with dial judges IP literals alone: add resolve: true, or leave egress out')
    }
    if (resolve && dial === undefined) throw invalidArgument('resolve is an option of dial')
    if (localAddress !== undefined && parseIP(localAddress) === undefined)
      throw invalidArgument('localAddress must be an IP address')
    this.#options = options
  }

  /** Whether requests are judged by `authorize` at all. */
  get hasAuthorize(): boolean {
    return this.#options.authorize !== undefined
  }

  /**
   * Opens a connection, if the rules allow it.
   * @throws SocksError with `replyCode`: `ERR_SOCKS_INVALID_HOST`, `ERR_SOCKS_INVALID_PORT`, `ERR_SOCKS_NOT_ALLOWED`,
   * `ERR_SOCKS_EGRESS_DENIED`, `ERR_SOCKS_LOOP`, `ERR_SOCKS_HOOK_FAILED`, `ERR_SOCKS_DIAL_TIMEOUT`, or the code of what
   * failed on the way. An abort rejects with `signal.reason`.
   */
  async connect(target: OutboundTarget): Promise<OutboundConnection> {
    assertOptions(target, TARGET_KEYS)
    if (!isPort(target.port)) throw outOfRange('port must be an integer from 0 to 65535')
    const destination = dialable(target)
    const { dialTimeoutMs = 30_000 } = this.#options
    const operation = new Operation(target.signal, dialTimeoutMs, () => dialTimeout(destination))
    try {
      const request: OutboundRequest = Object.freeze({
        ...destination,
        command: 'connect',
        identity: target.identity ?? {},
        clientAddress: target.clientAddress,
        session: target.session,
        signal: operation.signal,
      } as const)
      await this.#authorize(request)
      return await (this.#options.dial === undefined
        ? this.#dialDirect(request)
        : this.#dialByHook(request, this.#options.dial))
    } finally {
      operation.done()
    }
  }

  async #authorize(request: OutboundRequest): Promise<void> {
    const { authorize } = this.#options
    if (authorize === undefined) return
    let verdict: unknown
    try {
      verdict = await untilAborted(request.signal, () => authorize(request))
    } catch (error) {
      throw request.signal.aborted ? error : hookError('authorize', error, ReplyCode.notAllowed)
    }
    if (verdict === true) return
    if (verdict !== false && !isFailureCode(verdict)) {
      const cause = new TypeError('authorize returned neither a boolean nor a reply code from 1 to 8')
      throw hookError('authorize', cause, ReplyCode.notAllowed)
    }
    throw new SocksError('ERR_SOCKS_NOT_ALLOWED', 'denied by authorize', {
      replyCode: verdict === false ? ReplyCode.notAllowed : verdict,
      target: formatDestination(request),
    })
  }

  async #dialDirect(request: OutboundRequest): Promise<OutboundConnection> {
    const candidates = await this.#allowedCandidates(request)
    try {
      const stream = await dialDirect(candidates, request.host, this.#options.localAddress, request.signal)
      return { stream, bound: boundOf(stream) }
    } catch (error) {
      throw request.signal.aborted ? error : dialError(error, formatDestination(request))
    }
  }

  async #dialByHook(plain: OutboundRequest, dial: Dial): Promise<OutboundConnection> {
    let request = plain
    if (this.#options.resolve === true) {
      const candidates = await this.#allowedCandidates(plain)
      request = Object.freeze({ ...plain, addresses: candidates.map(({ host }) => host) })
    } else if (plain.type !== 'domain') {
      this.#judge([{ type: plain.type, host: plain.host, port: plain.port }], plain)
    }
    try {
      const result = await untilAborted(request.signal, () => dial(request), discardResult)
      const { stream, bound } = asConnection(result)
      return { stream: await whenConnected(stream, request.signal), bound: boundOf(stream, bound) }
    } catch (error) {
      throw request.signal.aborted ? error : dialError(error, formatDestination(request), 'dial')
    }
  }

  async #allowedCandidates(request: OutboundRequest): Promise<Candidate[]> {
    let candidates: Candidate[]
    try {
      candidates = await untilAborted(request.signal, () => resolveDestination(request, this.#options.lookup))
    } catch (error) {
      throw request.signal.aborted ? error : dialError(error, formatDestination(request), 'lookup')
    }
    return this.#judge(candidates, request)
  }

  /** The candidates that may be dialed. @throws SocksError when there is none. */
  #judge(candidates: readonly Candidate[], request: OutboundRequest): Candidate[] {
    const policy = this.#options.egress ?? defaultEgress(request.clientAddress)
    const allowed = candidates.filter((candidate) => isAllowed(policy, candidate, request))
    const details = { replyCode: ReplyCode.notAllowed, target: formatDestination(request) }
    if (allowed.length === 0) {
      throw new SocksError('ERR_SOCKS_EGRESS_DENIED', `denied by egress policy ${policy.name || '(unnamed)'}`, details)
    }
    const foreign = allowed.filter(({ host, port }) => !this.ownAddresses.has(host, port))
    if (foreign.length === 0) throw new SocksError('ERR_SOCKS_LOOP', 'the target is this proxy itself', details)
    return foreign
  }
}

const TARGET_KEYS = ['host', 'port', 'clientAddress', 'identity', 'session', 'signal']

/** Canonical destination of a CONNECT. What no connection can lead to is refused here, whatever the rules say. */
function dialable({ host, port }: OutboundTarget): Destination {
  const destination = parseDestination(host, port)
  const target = formatDestination(destination)
  if (port === 0) {
    throw new SocksError('ERR_SOCKS_INVALID_PORT', 'port 0', { replyCode: ReplyCode.generalFailure, target })
  }
  // Systems connect 0.0.0.0 and :: to themselves.
  if (isUnspecified(destination.host)) {
    throw new SocksError('ERR_SOCKS_INVALID_HOST', 'unspecified address', {
      replyCode: ReplyCode.hostUnreachable,
      target,
    })
  }
  return destination
}

function isAllowed(policy: EgressPolicy, { type, host, port }: Candidate, request: OutboundRequest): boolean {
  const bytes = parseIP(host)
  if (bytes === undefined) return false
  try {
    const verdict: unknown = policy({ type, host, port, kind: classifyIP(bytes) }, request)
    if (verdict instanceof Promise) verdict.catch(() => {})
    if (typeof verdict !== 'boolean') throw new TypeError('egress returned no boolean')
    return verdict
  } catch (error) {
    throw hookError('egress', error, ReplyCode.notAllowed)
  }
}

function isFailureCode(verdict: unknown): verdict is number {
  return Number.isInteger(verdict) && Number(verdict) >= 1 && Number(verdict) <= 8
}

function asConnection(result: DialResult): {
  stream: Duplex
  bound?: { readonly host: string; readonly port: number }
} {
  const connection = result instanceof Duplex ? { stream: result } : result
  const stream = connection?.stream
  if (isByteStream(stream)) return connection
  discardResult(result)
  throw hookError('dial', new TypeError('dial returned no Duplex of bytes'), ReplyCode.generalFailure)
}

function discardResult(result: DialResult): void {
  const stream = result instanceof Duplex ? result : result?.stream
  if (!(stream instanceof Duplex)) return
  guard(stream)
  stream.destroy()
}

function dialTimeout(destination: Destination): SocksError {
  const target = formatDestination(destination)
  return new SocksError('ERR_SOCKS_DIAL_TIMEOUT', `no connection to ${target} in time`, {
    replyCode: ReplyCode.ttlExpired,
    target,
  })
}

import { assertOptions, invalidArgument, isPort, outOfRange } from '../codec/arguments.js'
import { isUnspecified } from '../codec/destination.js'
import {
  type Destination,
  formatDestination,
  parseDestination,
  parseIP,
  ReplyCode,
  SocksError,
} from '../codec/index.js'
import { asConnection, boundOf, type Candidate, dialDirect, discardResult, whenConnected } from './dial.js'
import { assertPolicy, type EgressPolicy } from './egress.js'
import { Judge } from './judge.js'
import { Operation, untilAborted } from './operation.js'
import { assertOptionTypes, OUTBOUND_OPTION_TYPES } from './option-types.js'
import { OwnAddresses } from './own-addresses.js'
import { dialError } from './reply-code.js'
import type {
  Authorize,
  BindAdmission,
  Dial,
  DialResult,
  Looked,
  OutboundConnection,
  OutboundRequest,
  OutboundTarget,
  RequestCommand,
} from './request.js'
import { type Lookup, resolveDestination, reverseLookup } from './resolve.js'

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

/** The way out that front doors share: authorize, look up, judge each address, dial what was judged. */
export function createOutbound(options: OutboundOptions = {}): Outbound {
  return new Outbound(options)
}

/** See {@link createOutbound}. */
export class Outbound {
  /** @internal Listeners that must not be dialed. */
  readonly ownAddresses: OwnAddresses = new OwnAddresses()
  /** @internal Sockets for datagrams, which are no targets of datagrams. */
  readonly ownDatagramAddresses: OwnAddresses = new OwnAddresses()
  readonly #options: OutboundOptions
  readonly #judge: Judge

  /**
   * Use {@link createOutbound}.
   * @param defaultEgress what judges addresses where `egress` is left out, in place of the default by client.
   * @throws TypeError for `egress` beside `dial` without `resolve`: names would pass it unseen.
   */
  constructor(options: OutboundOptions, defaultEgress?: EgressPolicy) {
    assertOptionTypes(options, OUTBOUND_OPTION_TYPES)
    const { dial, egress, resolve = false, localAddress } = options
    if (egress !== undefined) assertPolicy(egress, 'option egress')
    if (dial !== undefined && egress !== undefined && !resolve) {
      throw invalidArgument('egress with dial judges IP literals alone: add resolve: true, or leave egress out')
    }
    if (resolve && dial === undefined) throw invalidArgument('resolve is an option of dial')
    if (localAddress !== undefined && parseIP(localAddress) === undefined)
      throw invalidArgument('localAddress must be an IP address')
    this.#options = options
    this.#judge = new Judge(options.authorize, egress ?? defaultEgress, this.ownAddresses)
  }

  /** Whether requests are judged by `authorize` at all. */
  get hasAuthorize(): boolean {
    return this.#options.authorize !== undefined
  }

  /** Whether traffic leaves through a dialer of the application's own. */
  get hasDialer(): boolean {
    return this.#options.dial !== undefined
  }

  /** Whether names are looked up on this host. Where a dialer knows names better, they are not. */
  get looksUpNames(): boolean {
    return this.#options.dial === undefined || this.#options.resolve === true
  }

  /** The address to dial and to listen from, where one was given. */
  get localAddress(): string | undefined {
    return this.#options.localAddress
  }

  /**
   * Opens a connection, if the rules allow it.
   * @throws SocksError with `replyCode`: `ERR_SOCKS_INVALID_HOST`, `ERR_SOCKS_INVALID_PORT`, `ERR_SOCKS_NOT_ALLOWED`,
   * `ERR_SOCKS_EGRESS_DENIED`, `ERR_SOCKS_LOOP`, `ERR_SOCKS_HOOK_FAILED`, `ERR_SOCKS_DIAL_TIMEOUT`, or the code of what
   * failed on the way. An abort rejects with `signal.reason`.
   */
  async connect(target: OutboundTarget): Promise<OutboundConnection> {
    const destination = dialable(checkedTarget(target))
    return this.#within(target, destination, async (operation) => {
      const request = toRequest('connect', destination, target, operation.signal)
      const rules = await this.#judge.authorize(request)
      return await (this.#options.dial === undefined
        ? this.#dialDirect(request, rules)
        : this.#dialByHook(request, rules, this.#options.dial))
    })
  }

  /**
   * Judges a request to wait for a peer (BIND). 0.0.0.0 and `::` stand for any peer and are not judged as addresses.
   * @throws as {@link connect}.
   */
  admitBind(target: OutboundTarget): Promise<BindAdmission> {
    const destination = parseDestination(checkedTarget(target).host, target.port)
    return this.#within(target, destination, async ({ signal }) => {
      const request = toRequest('bind', destination, target, signal)
      const rules = await this.#judge.authorize(request)
      if (isUnspecified(destination.host)) return { destination, peers: undefined, rules }
      const peers = this.looksUpNames ? await this.#candidates(request) : literalOf(destination)
      if (peers === undefined) return { destination, peers, rules }
      const { candidates, rule } = this.#judge.judgeAddresses(peers, request)
      return { destination, peers: candidates, rules: [...rules, rule] }
    })
  }

  /** Judges a peer that has connected for an admitted BIND. Rejects as {@link admitBind}. */
  admitPeer(peer: Destination, requested: Destination, target: OutboundTarget): Promise<readonly string[]> {
    return this.#within(target, peer, async ({ signal }) => {
      const request = toRequest('bind', peer, target, signal, requested)
      const rules = await this.#judge.authorize(request)
      const { rule } = this.#judge.judgeAddresses(literalOf(peer) ?? [], request)
      return [...rules, rule]
    })
  }

  /**
   * Judges a destination of datagrams. Resolves to the addresses that they may be sent to, at least one. Rejects as
   * {@link connect}.
   */
  async admitDatagrams(target: OutboundTarget): Promise<readonly Candidate[]> {
    const destination = dialable(checkedTarget(target))
    return this.#within(target, destination, async ({ signal }) => {
      const request = toRequest('udp', destination, target, signal)
      await this.#judge.authorize(request)
      const { candidates } = this.#judge.judgeAddresses(await this.#candidates(request), request)
      const family = this.localAddress && (this.localAddress.includes(':') ? 'ipv6' : 'ipv4')
      return candidates.filter(({ type }) => family === undefined || type === family)
    })
  }

  /**
   * Looks a name up for a client (Tor's RESOLVE). Resolves to the addresses that the policy allows to be dialed; a
   * literal is its own. Rejects as {@link connect}, and with 07 where the dialer is the one that knows names.
   */
  resolve(target: OutboundTarget): Promise<Looked<Candidate[]>> {
    const destination = parseDestination(checkedTarget(target).host, target.port)
    return this.#within(target, destination, async ({ signal }) => {
      const request = toRequest('resolve', destination, target, signal)
      const rules = await this.#judge.authorize(request)
      const { candidates, rule } = this.#judge.judgeAddresses(await this.#candidates(request), request)
      return { found: candidates, rules: [...rules, rule] }
    })
  }

  /** The name of an address (Tor's RESOLVE_PTR). Rejects as {@link resolve}. */
  resolvePointer(target: OutboundTarget): Promise<Looked<string>> {
    const destination = parseDestination(checkedTarget(target).host, target.port)
    return this.#within(target, destination, async ({ signal }) => {
      const request = toRequest('resolve-ptr', destination, target, signal)
      const rules = await this.#judge.authorize(request)
      const { rule } = this.#judge.judgeAddresses(literalOf(destination) ?? [], request)
      try {
        return { found: await untilAborted(signal, () => reverseLookup(destination.host)), rules: [...rules, rule] }
      } catch (error) {
        throw signal.aborted ? error : dialError(error, formatDestination(destination))
      }
    })
  }

  /** @internal A deadline of this way out for what a hook does on behalf of `target`, its client's end included. */
  operation({ host, port, signal }: OutboundTarget): Operation {
    const { dialTimeoutMs = 30_000 } = this.#options
    return new Operation(signal, dialTimeoutMs, () => dialTimeout(parseDestination(host, port)))
  }

  /** One bounded operation of this way out on behalf of `target`. */
  async #within<T>(
    { signal }: OutboundTarget,
    destination: Destination,
    work: (operation: Operation) => Promise<T>,
  ): Promise<T> {
    const { dialTimeoutMs = 30_000 } = this.#options
    const operation = new Operation(signal, dialTimeoutMs, () => dialTimeout(destination))
    try {
      return await work(operation)
    } finally {
      operation.done()
    }
  }

  async #dialDirect(request: OutboundRequest, rules: readonly string[]): Promise<OutboundConnection> {
    const { candidates, rule } = this.#judge.judge(await this.#candidates(request), request)
    try {
      const stream = await dialDirect(candidates, request.host, this.#options.localAddress, request.signal)
      return { stream, bound: boundOf(stream), rules: [...rules, rule] }
    } catch (error) {
      throw request.signal.aborted ? error : dialError(error, formatDestination(request))
    }
  }

  async #dialByHook(plain: OutboundRequest, before: readonly string[], dial: Dial): Promise<OutboundConnection> {
    let request = plain
    let rules = before
    const known = this.looksUpNames ? await this.#candidates(plain) : literalOf(plain)
    if (known !== undefined) {
      const { candidates, rule } = this.#judge.judge(known, plain)
      rules = [...before, rule]
      if (this.looksUpNames) request = Object.freeze({ ...plain, addresses: candidates.map(({ host }) => host) })
    }
    try {
      const result = await untilAborted(request.signal, () => dial(request), discardResult)
      return await this.#connected(result, request, rules)
    } catch (error) {
      throw request.signal.aborted ? error : dialError(error, formatDestination(request), 'dial')
    }
  }

  async #connected(
    result: DialResult,
    request: OutboundRequest,
    rules: readonly string[],
  ): Promise<OutboundConnection> {
    try {
      const { stream, bound } = asConnection(result)
      return { stream: await whenConnected(stream, request.signal), bound: boundOf(stream, bound), rules }
    } catch (error) {
      discardResult(result)
      throw error
    }
  }

  async #candidates(request: OutboundRequest): Promise<Candidate[]> {
    try {
      return await untilAborted(request.signal, () => resolveDestination(request, this.#options.lookup, request))
    } catch (error) {
      throw request.signal.aborted ? error : dialError(error, formatDestination(request), 'lookup')
    }
  }
}

const TARGET_KEYS = ['host', 'port', 'clientAddress', 'identity', 'session', 'signal']

function checkedTarget(target: OutboundTarget): OutboundTarget {
  assertOptions(target, TARGET_KEYS)
  if (!isPort(target.port)) throw outOfRange('port must be an integer from 0 to 65535')
  return target
}

/** The request as hooks see it. */
function toRequest(
  command: RequestCommand,
  { type, host, port }: Destination,
  { identity = {}, clientAddress, session }: OutboundTarget,
  signal: AbortSignal,
  requested?: Destination,
): OutboundRequest {
  const request = { command, type, host, port, identity, clientAddress, session, signal }
  return Object.freeze(requested === undefined ? request : { ...request, requested })
}

/** A literal is its own candidate; a name has none before it is looked up. */
function literalOf({ type, host, port }: Destination): Candidate[] | undefined {
  return type === 'domain' ? undefined : [{ type, host, port }]
}

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

function dialTimeout(destination: Destination): SocksError {
  const target = formatDestination(destination)
  return new SocksError('ERR_SOCKS_DIAL_TIMEOUT', `no connection to ${target} in time`, {
    replyCode: ReplyCode.ttlExpired,
    target,
  })
}

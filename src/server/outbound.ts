import { invalidArgument } from '../codec/arguments.js'
import { isUnspecified } from '../codec/destination.js'
import { type Destination, formatDestination, parseDestination, parseIP } from '../codec/index.js'
import type { ReusedReader } from '../stream/reused-reader.js'
import { type Cancellation, untilCancelled } from './cancellation.js'
import { asConnection, boundOf, type Candidate, dialDirect, discardResult, whenConnected } from './dial.js'
import { assertPolicy, type EgressPolicy } from './egress.js'
import { Judge } from './judge.js'
import { Operation } from './operation.js'
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
import { AskedRequest, destinationOf, dialable, dialTimeout, endOf, literalOf } from './target.js'

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
    return this.connectBy(undefined, target)
  }

  /** @internal As {@link connect}; a socket that is dialed here is read by `reader`, which then says so. */
  async connectBy(reader: ReusedReader | undefined, target: OutboundTarget): Promise<OutboundConnection> {
    const destination = dialable(target)
    const operation = this.operation(target, destination)
    const { dial } = this.#options
    try {
      const request = new AskedRequest('connect', destination, target, operation)
      const rules = this.hasAuthorize ? await this.#judge.authorize(request, operation) : NO_RULES
      if (dial !== undefined) return await this.#dialByHook(request, rules, dial, operation)
      const known = literalOf(destination) ?? (await this.#candidates(request, operation))
      const { candidates, rule } = this.#judge.judge(known, request)
      const { localAddress } = this.#options
      try {
        const stream = await dialDirect(candidates, request.host, { localAddress, cancellation: operation, reader })
        return { stream, bound: boundOf(stream), rules: [...rules, rule] }
      } catch (error) {
        throw operation.isCancelled ? error : dialError(error, formatDestination(destination))
      }
    } finally {
      operation.done()
    }
  }

  /**
   * Judges a request to wait for a peer (BIND). 0.0.0.0 and `::` stand for any peer and are not judged as addresses.
   * @throws as {@link connect}.
   */
  admitBind(target: OutboundTarget): Promise<BindAdmission> {
    const destination = destinationOf(target)
    return this.#admitted('bind', destination, target, async (request, rules, operation) => {
      if (isUnspecified(destination.host)) return { destination, peers: undefined, rules }
      const peers = this.looksUpNames ? await this.#candidates(request, operation) : literalOf(destination)
      if (peers === undefined) return { destination, peers, rules }
      const { candidates, rule } = this.#judge.judgeAddresses(peers, request)
      return { destination, peers: candidates, rules: [...rules, rule] }
    })
  }

  /** Judges a peer that has connected for an admitted BIND. Rejects as {@link admitBind}. */
  admitPeer(peer: Destination, requested: Destination, target: OutboundTarget): Promise<readonly string[]> {
    return this.#admitted(
      'bind',
      peer,
      target,
      async (request, rules) => [...rules, this.#judge.judgeAddresses(literalOf(peer) ?? [], request).rule],
      requested,
    )
  }

  /**
   * Judges a destination of datagrams. Resolves to the addresses that they may be sent to: none, where all are of another
   * family than `localAddress`. Rejects as {@link connect}.
   */
  async admitDatagrams(target: OutboundTarget): Promise<readonly Candidate[]> {
    const destination = dialable(target)
    return this.#admitted('udp', destination, target, async (request, _rules, operation) => {
      const { candidates } = this.#judge.judgeAddresses(await this.#candidates(request, operation), request)
      const family = this.localAddress && (this.localAddress.includes(':') ? 'ipv6' : 'ipv4')
      return candidates.filter(({ type }) => family === undefined || type === family)
    })
  }

  /**
   * Looks a name up for a client (Tor's RESOLVE). Resolves to the addresses that the policy allows to be dialed; a
   * literal is its own. Rejects as {@link connect}.
   */
  resolve(target: OutboundTarget): Promise<Looked<readonly Candidate[]>> {
    return this.#admitted('resolve', destinationOf(target), target, async (request, rules, operation) => {
      const { candidates, rule } = this.#judge.judgeAddresses(await this.#candidates(request, operation), request)
      return { found: candidates, rules: [...rules, rule] }
    })
  }

  /** The name of an address (Tor's RESOLVE_PTR). Rejects as {@link resolve}. */
  resolvePointer(target: OutboundTarget): Promise<Looked<string>> {
    const destination = destinationOf(target)
    return this.#admitted('resolve-ptr', destination, target, async (request, rules, operation) => {
      const { rule } = this.#judge.judgeAddresses(literalOf(destination) ?? [], request)
      try {
        const found = await untilCancelled(operation, () => reverseLookup(destination.host))
        return { found, rules: [...rules, rule] }
      } catch (error) {
        throw operation.isCancelled ? error : dialError(error, formatDestination(destination))
      }
    })
  }

  /** @internal A deadline of this way out for what is done on behalf of `target`, its client's end included. */
  operation(target: OutboundTarget, destination: Destination = parseDestination(target.host, target.port)): Operation {
    const { dialTimeoutMs = 30_000 } = this.#options
    return new Operation(endOf(target), dialTimeoutMs, () => dialTimeout(destination))
  }

  /** One bounded operation on behalf of `target`, once `authorize` has admitted it. */
  async #admitted<T>(
    command: RequestCommand,
    destination: Destination,
    target: OutboundTarget,
    work: (request: OutboundRequest, rules: readonly string[], operation: Operation) => Promise<T>,
    requested?: Destination,
  ): Promise<T> {
    const operation = this.operation(target, destination)
    try {
      const request = new AskedRequest(command, destination, target, operation, requested && { requested })
      const rules = this.hasAuthorize ? await this.#judge.authorize(request, operation) : NO_RULES
      return await work(request, rules, operation)
    } finally {
      operation.done()
    }
  }

  async #dialByHook(
    plain: AskedRequest,
    before: readonly string[],
    dial: Dial,
    operation: Operation,
  ): Promise<OutboundConnection> {
    let request: OutboundRequest = plain
    let rules = before
    const known = this.looksUpNames ? await this.#candidates(plain, operation) : literalOf(plain)
    if (known !== undefined) {
      const { candidates, rule } = this.#judge.judge(known, plain)
      rules = [...before, rule]
      if (this.looksUpNames) request = plain.withAddresses(candidates.map(({ host }) => host))
    }
    try {
      const result = await untilCancelled(operation, () => dial(request), discardResult)
      return await this.#connected(result, rules, operation)
    } catch (error) {
      throw operation.isCancelled ? error : dialError(error, formatDestination(request), 'dial')
    }
  }

  async #connected(result: DialResult, rules: readonly string[], operation: Operation): Promise<OutboundConnection> {
    try {
      const { stream, bound } = asConnection(result)
      return { stream: await whenConnected(stream, operation), bound: boundOf(stream, bound), rules }
    } catch (error) {
      discardResult(result)
      throw error
    }
  }

  async #candidates(request: OutboundRequest, cancellation: Cancellation): Promise<Candidate[]> {
    const { clientAddress } = request
    try {
      return await untilCancelled(cancellation, () =>
        resolveDestination(request, this.#options.lookup, { clientAddress, cancellation }),
      )
    } catch (error) {
      throw cancellation.isCancelled ? error : dialError(error, formatDestination(request), 'lookup')
    }
  }
}

const NO_RULES: readonly string[] = []

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isUnspecified, withoutZone } from '../codec/destination.js'
import {
  canonicalIP,
  type Destination,
  isSocksError,
  parseDestination,
  ReplyCode,
  replyError,
  SocksError,
} from '../codec/index.js'
import { openUdpRelay, type UdpTarget } from '../udp/index.js'
import type { CommandContext } from './commands.js'
import { untilAborted } from './operation.js'
import type { Outbound } from './outbound.js'
import { advertised, assertAddress, routeTo } from './reachable.js'
import { dialError } from './reply-code.js'
import type { OutboundTarget } from './request.js'
import type { Counters } from './session.js'
import type { UdpAssociate, UdpElsewhere } from './udp-options.js'

/** A relay that lives with its control connection. */
export interface Association extends Counters {
  close(): void
}

/** Associations at a time, by client address. */
export class AssociationCounts {
  readonly #counts = new Map<string, number>()

  /** Counts one more, and returns what takes it back; `undefined` where that would exceed `max`. */
  add(clientAddress: string, max: number): (() => void) | undefined {
    const count = (this.#counts.get(clientAddress) ?? 0) + 1
    if (count > max) return undefined
    this.#counts.set(clientAddress, count)
    return () => {
      const left = (this.#counts.get(clientAddress) ?? 1) - 1
      if (left === 0) this.#counts.delete(clientAddress)
      else this.#counts.set(clientAddress, left)
    }
  }
}

/** Serves UDP ASSOCIATE: a relay of datagrams that ends with the connection that asked for it. RFC 1928 section 7. */
export async function udpAssociate(context: CommandContext, target: OutboundTarget): Promise<void> {
  const { udp, outbound, associations } = context.settings
  if (outbound.hasDialer && udp.associate === undefined) {
    throw replyError(ReplyCode.commandNotSupported, 'datagrams would go beside the dialer', { rule: 'commands' })
  }
  const giveBack = associations.add(target.clientAddress ?? '', udp.maxAssociationsPerClient)
  if (giveBack === undefined) {
    const rule = 'udp.maxAssociationsPerClient'
    throw new SocksError('ERR_SOCKS_LIMIT', `${rule} is reached`, { rule, replyCode: ReplyCode.generalFailure })
  }
  // However it ends: the signal aborts with the connection.
  target.signal?.addEventListener('abort', giveBack, { once: true })
  if (target.signal?.aborted) giveBack()
  try {
    const { association, bound } = await open(context, target)
    if (context.isWaiting()) context.associated(association, bound)
    else association.close()
  } catch (error) {
    throw target.signal?.aborted ? error : dialError(error, 'a socket for datagrams', udp.associate && 'udp.associate')
  }
}

interface Opened {
  readonly association: Association
  readonly bound: Destination
}

async function open(context: CommandContext, target: OutboundTarget): Promise<Opened> {
  const { udp, outbound } = context.settings
  return udp.associate === undefined
    ? await openHere(context, target)
    : await openElsewhere(outbound, target, udp.associate)
}

/** Asks the hook, no longer than a dial may take. What it made is ended when nobody can use it. */
async function openElsewhere(outbound: Outbound, target: OutboundTarget, associate: UdpAssociate): Promise<Opened> {
  const operation = outbound.operation(target)
  try {
    const asked = Object.freeze({ ...target, signal: operation.signal })
    const elsewhere = await untilAborted(operation.signal, () => associate(asked), closeElsewhere)
    if (typeof elsewhere?.close !== 'function') throw new TypeError('udp.associate returned no relay')
    try {
      assertAddress(elsewhere.address, 'udp.associate')
    } catch (error) {
      closeElsewhere(elsewhere)
      throw error
    }
    const { host, port } = elsewhere.address
    return {
      // Its bytes pass somewhere else.
      association: { bytesUp: 0, bytesDown: 0, close: () => closeElsewhere(elsewhere) },
      bound: parseDestination(host, port),
    }
  } finally {
    operation.done()
  }
}

async function openHere(context: CommandContext, target: OutboundTarget): Promise<Opened> {
  const { settings, stream } = context
  const { udp, outbound } = settings
  const clientAddress = udp.client === 'first-sender' ? undefined : target.clientAddress
  if (clientAddress === undefined && udp.client === 'address') {
    throw replyError(ReplyCode.notAllowed, 'whose datagrams to take is not known', { rule: 'udp.client' })
  }
  const reachable =
    udp.host === undefined || isUnspecified(udp.host) ? await receivingHost(stream, clientAddress) : udp.host
  const host = udp.host ?? reachable
  const { idleTimeoutMs, maxMappings, portRange, nat, reassemble, replyAddress, relatchAfterMs } = udp
  const relay = await openUdpRelay({
    bind: { host, portRange },
    client: { address: clientAddress, port: namedPort(target, clientAddress) },
    decide: (destination, signal, current) => decide(context, { ...target, ...destination, signal }, current),
    registry: outbound.ownDatagramAddresses,
    localAddress: outbound.localAddress,
    idleTimeoutMs,
    maxMappings,
    nat,
    reassemble,
    replyAddress,
    relatchAfterMs,
    signal: target.signal,
  })
  const association: Association = {
    get bytesUp() {
      return relay.stats.bytesUp
    },
    get bytesDown() {
      return relay.stats.bytesDown
    },
    close: () => relay.close(),
  }
  try {
    // A wildcard is no address to send to.
    const { port } = relay.address
    const bound = advertised(udp.advertise, isUnspecified(host) ? { host: reachable, port } : relay.address)
    return { association, bound: parseDestination(bound.host, bound.port) }
  } catch (error) {
    relay.close()
    throw error
  }
}

/** Judges one destination of datagrams. A denial is told, and is no error: the association goes on. */
async function decide(
  { settings, denied }: CommandContext,
  { host, port, clientAddress, identity, session, signal }: OutboundTarget,
  current: UdpTarget | undefined,
): Promise<UdpTarget | undefined> {
  try {
    const target = { host, port, clientAddress, identity, session, signal }
    const candidates = await settings.outbound.admitDatagrams(target)
    return candidates.find((candidate) => candidate.host === current?.host) ?? candidates[0]
  } catch (error) {
    if (isSocksError(error) && error.rule !== undefined) {
      denied(error, parseDestination(host, port))
      return undefined
    }
    throw error
  }
}

/** DST.PORT, where DST is the client itself: then only that port of it. What else stands there is not trusted. */
function namedPort({ host, port }: OutboundTarget, clientAddress: string | undefined): number {
  return clientAddress !== undefined && canonicalIP(host)?.host === clientAddress ? port : 0
}

/** Where the client can send to: what it reached this server at, or else the address that leads to it. */
async function receivingHost(control: Duplex, clientAddress: string | undefined): Promise<string> {
  const near = control instanceof Socket ? canonicalIP(withoutZone(control.localAddress ?? '')) : undefined
  const client = clientAddress === undefined ? undefined : canonicalIP(clientAddress)
  if (near !== undefined && (client === undefined || client.type === near.type)) return near.host
  return client === undefined ? '127.0.0.1' : await routeTo({ ...client, port: 0 })
}

/** What the application's relay throws at its end is nobody's to answer. */
function closeElsewhere(elsewhere: UdpElsewhere | undefined): void {
  try {
    elsewhere?.close?.()
  } catch {}
}

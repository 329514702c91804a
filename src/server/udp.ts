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
import { closeElsewhere, openElsewhere } from './elsewhere.js'
import type { Outbound } from './outbound.js'
import { advertised, routeTo } from './reachable.js'
import { dialError } from './reply-code.js'
import type { OutboundTarget } from './request.js'
import type { Counters } from './session.js'
import type { UdpAssociate } from './udp-options.js'

/** A relay that lives with its control connection. */
export interface Association extends Counters {
  close(): void
}

/** Serves UDP ASSOCIATE: a relay of datagrams that ends with the connection that asked for it. RFC 1928 section 7. */
export async function udpAssociate(context: CommandContext, target: OutboundTarget): Promise<void> {
  const { udp, outbound, associations } = context.settings
  if (outbound.hasDialer && udp.associate === undefined) {
    throw replyError(ReplyCode.commandNotSupported, 'datagrams would go beside the dialer', { rule: 'commands' })
  }
  const { clientAddress = '' } = target
  if (associations.get(clientAddress) >= udp.maxAssociationsPerClient) {
    const rule = 'udp.maxAssociationsPerClient'
    throw new SocksError('ERR_SOCKS_LIMIT', `${rule} is reached`, { rule, replyCode: ReplyCode.generalFailure })
  }
  associations.add(clientAddress)
  const giveBack = (): void => associations.remove(clientAddress)
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
    : await openThere(outbound, target, udp.associate)
}

/** Lets the hook open it: its bytes pass somewhere else. */
async function openThere(outbound: Outbound, target: OutboundTarget, open: UdpAssociate): Promise<Opened> {
  const elsewhere = await openElsewhere(outbound, target, { name: 'udp.associate', open, methods: ['close'] })
  const { host, port } = elsewhere.address
  return {
    association: { bytesUp: 0, bytesDown: 0, close: () => closeElsewhere(elsewhere) },
    bound: parseDestination(host, port),
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
      return relay.stats().bytesUp
    },
    get bytesDown() {
      return relay.stats().bytesDown
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

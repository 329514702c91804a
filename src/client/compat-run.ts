import { connect as connectTcp, type NetConnectOpts, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Address } from '../codec/address.js'
import { Command } from '../codec/constants.js'
import { formatDestination, isUnspecified } from '../codec/destination.js'
import { BoundListener } from './bind.js'
import type { Way } from './chain.js'
import { asClientError } from './compat-error.js'
import type { CommandRequest } from './compat-request.js'
import type { SocksClientBoundEvent, SocksClientEstablishedEvent, SocksRemoteHost } from './compat-types.js'
import { explain, type Place, timeoutError } from './failure.js'
import { guardLookup } from './lookup.js'
import { remoteHost } from './near.js'
import { Operation } from './operation.js'
import { opened } from './transport.js'

const COMMANDS = { connect: Command.connect, bind: Command.bind, associate: Command.udpAssociate } as const

/**
 * Carries out one command. `onBound` is told where the proxy listens, of `bind`.
 * @throws SocksClientError (rejects); everything that was opened is destroyed.
 */
export async function runCommand(
  request: CommandRequest,
  onBound: (info: SocksClientBoundEvent) => void = () => {},
): Promise<SocksClientEstablishedEvent> {
  try {
    return await (request.command === 'bind' ? bind(request, onBound) : open(request))
  } catch (error) {
    throw asClientError(error, request.options)
  }
}

async function open(request: CommandRequest): Promise<SocksClientEstablishedEvent> {
  const { socket, bound } = await ask(request)
  // There is nothing to read on it, and unread its end would not be seen.
  if (request.command === 'associate') socket.resume()
  return told(socket, remote(bound, socket, request))
}

async function bind(
  request: CommandRequest,
  onBound: (info: SocksClientBoundEvent) => void,
): Promise<SocksClientEstablishedEvent> {
  const way = await ask(request)
  const { host, port } = remote(way.bound, way.socket, request)
  const listener = listenAt({ ...way, bound: { ...way.bound, host, port } })
  onBound(told(way.socket, { host, port }))
  const { socket, peer } = await listener.accept({ timeoutMs: request.acceptTimeoutMs })
  return told(socket, peer)
}

/** @throws SocksError where nobody could be told where to connect to. */
function listenAt(way: Way): BoundListener {
  try {
    return new BoundListener(way)
  } catch (error) {
    way.socket.destroy()
    throw error
  }
}

/** Goes through the proxies, and asks the last one. One deadline holds for all of it. */
async function ask(request: CommandRequest): Promise<Way> {
  const { socket: given, dial: options, timeoutMs } = request
  if (given !== undefined) return complete(request, given, timeoutMs)
  const started = performance.now()
  const dialed = options === undefined ? undefined : await dial(request, options)
  const left = timeoutMs === 0 ? 0 : Math.max(1, timeoutMs - (performance.now() - started))
  try {
    const way = await complete(request, dialed, dialed === undefined ? timeoutMs : left)
    tune(way.socket, request)
    return way
  } catch (error) {
    dialed?.destroy()
    throw error
  }
}

function complete(request: CommandRequest, socket: Duplex | undefined, timeoutMs: number): Promise<Way> {
  const { chain, destination } = request
  const command = COMMANDS[request.command]
  return chain.complete({ destination, signal: undefined, timeoutMs, socket, command }, async (way) => way)
}

/** Dials the first proxy by the caller's own options of `net.connect`. */
async function dial(request: CommandRequest, options: NetConnectOpts): Promise<Socket> {
  const { chain, destination, timeoutMs } = request
  const target = formatDestination(destination)
  const place: Place = { hop: 0, hops: 1, proxy: chain.labels[0] ?? '', target, stage: 'connect' }
  const operation = new Operation({ signal: undefined, timeoutMs }, () => timeoutError(place, timeoutMs, false))
  try {
    const lookup = guardLookup('lookup' in options ? options.lookup : undefined)
    const defaults = { noDelay: true, keepAlive: true }
    // Half-open until the handshake is over: see tune(). `onread` would take the bytes of the handshake away.
    const own = { allowHalfOpen: true, onread: undefined, ...(lookup && { lookup }) }
    const socket = operation.own(connectTcp({ ...defaults, ...options, ...own }))
    await operation.race(opened(socket, 'connect'))
    return socket
  } catch (error) {
    operation.destroy()
    throw operation.failure === undefined ? explain(error, place) : operation.failure.reason
  } finally {
    operation.finish()
  }
}

/**
 * Makes a socket of ours one as npm `socks` hands over: it ends by itself when the target does, which is what Node's
 * sockets do, and what programs that never call `end()` rely on.
 */
function tune(socket: Duplex, { allowHalfOpen, noDelay }: CommandRequest): void {
  socket.allowHalfOpen = allowHalfOpen
  if (socket.readableEnded && !allowHalfOpen) socket.end()
  if (socket instanceof Socket && !noDelay) socket.setNoDelay(false)
}

/** What a proxy told, with its own address in place of none. */
function remote({ host, port }: Address, socket: Duplex, request: CommandRequest): SocksRemoteHost {
  if (!isUnspecified(host)) return { host, port }
  const isDirect = request.chain.lastHop === 0 && request.socket === undefined && socket instanceof Socket
  const isTcp = isDirect && socket.remoteAddress !== undefined
  return { host: (isTcp ? remoteHost(socket) : request.proxyHost) ?? host, port }
}

function told(socket: Duplex, { host, port }: SocksRemoteHost): SocksClientEstablishedEvent {
  // A socket, unless the caller has given another kind of stream, and gets it back.
  return { socket: socket as Socket, remoteHost: { host, port } }
}

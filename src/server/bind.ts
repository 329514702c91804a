import type { Duplex } from 'node:stream'
import { withoutZone } from '../codec/destination.js'
import {
  type Destination,
  formatDestination,
  isSocksError,
  parseDestination,
  ReplyCode,
  replyError,
  SocksError,
} from '../codec/index.js'
import { isByteStream } from '../stream/byte-stream.js'
import { guard } from '../stream/handover.js'
import { openPeerListener } from './bind-listener.js'
import type { AcceptedPeer, BindListener, BindSettings } from './bind-options.js'
import { untilCancelled } from './cancellation.js'
import type { CommandContext } from './commands.js'
import { discardStream } from './dial.js'
import { closeElsewhere, openElsewhere } from './elsewhere.js'
import { hookError, Operation } from './operation.js'
import { dialError } from './reply-code.js'
import type { BindAdmission, OutboundTarget } from './request.js'

/** Serves a BIND: a listener, its address as the first reply, one peer whose address is the second. RFC 1928 section 4. */
export async function bind(context: CommandContext, target: OutboundTarget): Promise<void> {
  const { outbound, bind: settings } = context.settings
  if (outbound.hasDialer && settings.listen === undefined) {
    throw replyError(ReplyCode.commandNotSupported, 'a listener here would go beside the dialer', { rule: 'commands' })
  }
  const admission = await outbound.admitBind(target)
  const listener = await open(context, target, admission)
  try {
    if (!context.isWaiting()) return
    context.listening(parseDestination(listener.address.host, listener.address.port))
    const { stream, peer, rules } = await waitForPeer(listener, context, target, admission)
    if (context.isWaiting()) context.established({ stream, bound: peer, rules })
    else stream.destroy()
  } finally {
    closeElsewhere(listener)
  }
}

async function open(context: CommandContext, target: OutboundTarget, admission: BindAdmission): Promise<BindListener> {
  const { bind: settings, outbound } = context.settings
  const { destination, peers } = admission
  const { listen } = settings
  try {
    if (listen === undefined) {
      const { stream, version } = context
      const { localAddress } = outbound
      return await openPeerListener(settings, { peers, port: destination.port, version, control: stream, localAddress })
    }
    const request = Object.freeze({ ...target, host: destination.host, port: destination.port })
    return await openElsewhere(outbound, request, { name: 'bind.listen', open: listen, methods: ['accept', 'close'] })
  } catch (error) {
    const hook = listen === undefined ? undefined : 'bind.listen'
    throw target.signal?.aborted ? error : dialError(error, formatDestination(destination), hook)
  }
}

interface Peer {
  readonly stream: Duplex
  readonly peer: Destination
  readonly rules: readonly string[]
}

/** Takes peers until one is admitted. A stranger is dropped: a scanner must not be able to end somebody else's wait. */
async function waitForPeer(
  listener: BindListener,
  context: CommandContext,
  target: OutboundTarget,
  admission: BindAdmission,
): Promise<Peer> {
  const { bind: settings } = context.settings
  const operation = new Operation(target.signal, settings.timeoutMs, bindTimeout)
  try {
    for (;;) {
      const { socket, peer } = await accept(listener, operation, settings)
      try {
        const rules = await admit(peer, context, { ...target, signal: operation.signal }, admission, operation)
        // One that has gone while it was judged is no peer.
        if (!socket.destroyed) return { stream: socket, peer, rules: [...new Set([...admission.rules, ...rules])] }
      } catch (error) {
        socket.destroy()
        // A listener that is not ours is for one peer.
        if (operation.isCancelled || settings.listen !== undefined || !isSocksError(error)) throw error
        context.denied(error)
      }
    }
  } finally {
    operation.done()
  }
}

async function accept(
  listener: BindListener,
  operation: Operation,
  { listen }: BindSettings,
): Promise<{ socket: Duplex; peer: Destination }> {
  let accepted: AcceptedPeer | undefined
  try {
    accepted = await untilCancelled(operation, () => listener.accept({ signal: operation.signal }), destroyAccepted)
    if (!isByteStream(accepted?.socket)) throw new TypeError('accept resolved to no Duplex of bytes')
    guard(accepted.socket)
    const { host, port } = accepted.peer
    // Where it came from is what the system says: a zone names an interface of this host.
    return { socket: accepted.socket, peer: parseDestination(withoutZone(host), port) }
  } catch (error) {
    destroyAccepted(accepted)
    throw operation.isCancelled || listen === undefined ? error : dialError(error, 'the peer', 'bind.listen')
  }
}

/** The rules that admit a peer. Rejects with the SocksError that drops it. */
async function admit(
  peer: Destination,
  { settings }: CommandContext,
  target: OutboundTarget,
  { destination, peers }: BindAdmission,
  operation: Operation,
): Promise<readonly string[]> {
  const { peer: rule } = settings.bind
  if (typeof rule === 'function') {
    let verdict: unknown
    try {
      verdict = await untilCancelled(operation, () => rule({ host: peer.host, port: peer.port }, target))
    } catch (error) {
      throw operation.isCancelled ? error : hookError('bind.peer', error, ReplyCode.notAllowed)
    }
    if (verdict !== true) throw stranger(peer, 'hook')
  } else if (rule === 'strict' && peers !== undefined && !peers.some(({ host }) => host === peer.host)) {
    throw stranger(peer, rule)
  }
  return await settings.outbound.admitPeer(peer, destination, target)
}

function stranger(peer: Destination, rule: string): SocksError {
  const target = formatDestination(peer)
  return replyError(ReplyCode.notAllowed, `a stranger connected from ${target}`, { target, rule: `bind.peer ${rule}` })
}

function bindTimeout(): SocksError {
  return new SocksError('ERR_SOCKS_BIND_TIMEOUT', 'no peer connected in time', { replyCode: ReplyCode.ttlExpired })
}

function destroyAccepted(accepted: AcceptedPeer | undefined): void {
  discardStream(accepted?.socket)
}
